"""Scores of images under a decoder's output, against torch.distributions and by hand."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from guided import Bernoulli, Gaussian

SHAPE = (3, 2, 4, 5)


def random_pair():
    rng = torch.Generator().manual_seed(0)
    decoded = 3 * torch.randn(SHAPE, generator=rng, dtype=torch.float64)
    return decoded, torch.rand(SHAPE, generator=rng, dtype=torch.float64)


def test_bernoulli_of_grey_images_is_the_cross_entropy_by_hand():
    decoded, images = random_pair()
    p, x = 1 / (1 + np.exp(-decoded.numpy())), images.numpy()
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).reshape(3, -1).sum(1)
    np.testing.assert_allclose(Bernoulli().nll(decoded, images).numpy(), expected, rtol=1e-12)


def test_bernoulli_is_finite_at_extreme_logits():
    decoded = torch.tensor([[[[-1e4, 1e4]]]])
    assert Bernoulli().nll(decoded, torch.tensor([[[[0.0, 1.0]]]])).item() == 0
    assert Bernoulli().nll(decoded, torch.tensor([[[[1.0, 1.0]]]])).item() == 1e4


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5])
def test_gaussian_is_that_of_torch_distributions(scale, learned):
    decoded, images = random_pair()
    likelihood = Gaussian(scale=scale, learned=learned).double()
    expected = -Normal(decoded, scale).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.nll(decoded, images), expected, rtol=1e-6, atol=0)
    assert likelihood.mean(decoded) is decoded


def test_learned_scale_is_optimal_at_the_root_mean_square_error():
    decoded, images = random_pair()
    optimum = (images - decoded).square().mean().sqrt()
    likelihood = Gaussian().double()

    def nll(scale):
        with torch.no_grad():
            likelihood.log_scale.copy_(scale.log())
        return likelihood.nll(decoded, images).sum()

    best = nll(optimum)
    best.backward()
    assert likelihood.log_scale.grad is not None
    assert abs(likelihood.log_scale.grad.item()) < 1e-9
    assert best < nll(0.99 * optimum)
    assert best < nll(1.01 * optimum)
