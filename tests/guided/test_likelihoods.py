"""Scores of images under a decoder's output, against torch.distributions and by hand."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from guided import Bernoulli, Gaussian

RNG = torch.Generator().manual_seed(0)
DECODED = 3 * torch.randn(3, 2, 4, 5, generator=RNG, dtype=torch.float64)
IMAGES = torch.rand(3, 2, 4, 5, generator=RNG, dtype=torch.float64)


def test_bernoulli_of_grey_images_is_the_cross_entropy_by_hand():
    p, x = 1 / (1 + np.exp(-DECODED.numpy())), IMAGES.numpy()
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).reshape(3, -1).sum(1)
    np.testing.assert_allclose(Bernoulli().nll(DECODED, IMAGES).numpy(), expected, rtol=1e-12)
    extreme = torch.tensor([[[[-1e4, 1e4]]]])
    assert Bernoulli().nll(extreme, torch.tensor([[[[0.0, 1.0]]]])).item() == 0
    assert Bernoulli().nll(extreme, torch.tensor([[[[1.0, 1.0]]]])).item() == 1e4


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5])
def test_gaussian_is_that_of_torch_distributions(scale, learned):
    likelihood = Gaussian(scale=scale, learned=learned).double()
    expected = -Normal(DECODED, scale).log_prob(IMAGES).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.nll(DECODED, IMAGES), expected, rtol=1e-6, atol=0)
    assert likelihood.mean(DECODED) is DECODED
    assert len(list(likelihood.parameters())) == learned


def test_learned_scale_is_optimal_at_the_root_mean_square_error():
    likelihood = Gaussian(scale=float((IMAGES - DECODED).square().mean().sqrt())).double()
    nll = likelihood.nll(DECODED, IMAGES).sum()
    (gradient,) = torch.autograd.grad(nll, likelihood.log_scale)
    assert abs(gradient.item()) < 1e-4  # of a scale in single precision
    for factor in (0.99, 1.01):
        other = Gaussian(scale=factor * float(likelihood.log_scale.exp().detach())).double()
        assert nll < other.nll(DECODED, IMAGES).sum()
