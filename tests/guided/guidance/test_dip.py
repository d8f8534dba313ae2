"""DIP-VAE's terms on batches whose covariance is known."""

import pytest
import torch

import guided
from guided.latents import LatentAllocator

COVARIANCE = torch.tensor([[2.0, 0.5, 0.0], [0.5, 0.7, -0.3], [0.0, -0.3, 1.0]]).double()


def terms(variant, mean, logvar):
    context = guided.GuidanceContext((1, 8, 8), LatentAllocator(3), {})
    guidance = guided.DIP(variant=variant).build(context)
    posterior = guided.Posterior(mean, logvar)
    found = guidance.losses(torch.empty(0), posterior, mean, {})
    assert set(found) == set(guidance.weights)
    return found


def means(n=40):
    """Of exactly that covariance, around a point that is not 0."""
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= noise.mean(0)
    white = noise @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(noise.T))).T
    return 3 + white @ torch.linalg.cholesky(COVARIANCE).T


def test_the_covariance_of_the_means_is_compared_with_the_unit_matrix():
    found = terms("I", means(), torch.zeros(40, 3).double())
    assert float(found["dip_off_diagonal"]) == pytest.approx(2 * (0.5**2 + 0.3**2))
    assert float(found["dip_diagonal"]) == pytest.approx(1.0**2 + 0.3**2)


def test_the_mean_variance_of_the_posterior_adds_to_that_of_draws():
    logvar = torch.tensor([0.1, 0.2, 0.4]).double().log() + torch.zeros(40, 3)
    logvar[::2, 0] = torch.tensor(0.3).log()  # 0.2 on average
    found = terms("II", means(), logvar)
    assert float(found["dip_off_diagonal"]) == pytest.approx(2 * (0.5**2 + 0.3**2))
    assert float(found["dip_diagonal"]) == pytest.approx(1.2**2 + 0.1**2 + 0.4**2)


def test_both_variants_agree_on_the_covariance_of_many_draws():
    mean, logvar = means(2000), torch.full((2000, 3), -1.0).double()
    draws = guided.Posterior(mean, logvar).sample(torch.Generator().manual_seed(1))
    of_draws = terms("I", draws, logvar)
    for name, value in terms("II", mean, logvar).items():
        assert float(of_draws[name]) == pytest.approx(float(value), rel=0.15), name


def test_independent_latents_have_the_penalty_of_the_batch():
    """latents (latents - 1) / B, on average."""
    rng = torch.Generator().manual_seed(0)
    drawn = [
        terms("I", torch.randn(32, 3, generator=rng), torch.zeros(32, 3))["dip_off_diagonal"]
        for _ in range(500)
    ]
    assert float(torch.stack(drawn).mean()) == pytest.approx(3 * 2 / 32, rel=0.1)


@pytest.mark.parametrize("variant", ["I", "II"])
def test_gradients_numerically(variant):
    inputs = [means(6).requires_grad_(), torch.randn(6, 3).double().requires_grad_()]
    assert torch.autograd.gradcheck(lambda m, v: tuple(terms(variant, m, v).values()), inputs)


def test_negative_weights_are_refused():
    for name in ("off_diagonal", "diagonal"):
        with pytest.raises(guided.InputError, match=rf"DIP\.{name}: expected at least 0, got -2"):
            guided.DIP(**{name: -2})
