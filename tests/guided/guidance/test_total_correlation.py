"""Total correlation, against loops, all batches, and Gaussians whose value is known."""

from itertools import combinations

import pytest
import torch
from torch.distributions import Normal

import guided
from guided.guidance.total_correlation import log_weights, total_correlation
from guided.latents import LatentAllocator

ESTIMATORS = ["stratified", "weighted"]


def build(n_images=50, views=1, **settings):
    context = guided.GuidanceContext((1, 8, 8), LatentAllocator(4), {}, views, n_images=n_images)
    return guided.TotalCorrelation(**settings).build(context)


def batch(n=6, latents=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    z, mean, logvar = torch.randn(3, n, latents, generator=rng, dtype=torch.float64)
    return z, guided.Posterior(mean, logvar)


def test_weights_of_a_row_sum_to_one():
    weights = log_weights(6, 50, "stratified").double().exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(6).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.diagonal(), torch.full((6,), 1 / 50).double())
    assert weights[0, 1:].unique().numel() == 1
    whole = log_weights(50, 50, "stratified").exp()
    torch.testing.assert_close(whole, torch.full((50, 50), 1 / 50))
    of_all = log_weights(6, 50, "weighted").exp()
    torch.testing.assert_close(of_all, torch.full((6, 6), 1 / 300))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_is_the_definition_in_loops(estimator):
    z, posterior = batch()
    weights = log_weights(6, 50, estimator).double().exp()
    q = [Normal(m, (0.5 * v).exp()) for m, v in zip(posterior.mean, posterior.logvar, strict=True)]
    total = 0.0
    for i in range(6):
        densities = torch.stack([q[j].log_prob(z[i]).exp() for j in range(6)])
        joint = (weights[i] * densities.prod(1)).sum().log()
        total += joint - sum((weights[i] * densities[:, d]).sum().log() for d in range(4))
    found = build(estimator=estimator).losses(torch.empty(0), posterior, z, {})
    torch.testing.assert_close(found, {"total_correlation": total / 6}, atol=1e-5, rtol=1e-5)


def test_stratified_densities_are_unbiased():
    """The mean over all batches of three of five images is the density of the whole set."""
    densities = torch.rand(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = log_weights(3, 5, "stratified").double().exp()[0]
    batches = [[0, *others] for others in combinations(range(1, 5), 2)]
    found = torch.stack([(weights * densities[rows]).sum() for rows in batches])
    assert found.std() > 0
    torch.testing.assert_close(found.mean(), densities.mean(), rtol=1e-6, atol=0)


COVARIANCE = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.5, -0.3], [0.0, -0.3, 0.7]])
KNOWN = 0.5 * float(COVARIANCE.diagonal().log().sum() - COVARIANCE.logdet())  # 0.36 nats


def gaussian(covariance, n, noise=0.4):
    """Posteriors whose average is a Gaussian of this covariance, and a draw from each."""
    rng = torch.Generator().manual_seed(0)
    latents = len(covariance)
    root = torch.linalg.cholesky(covariance - noise**2 * torch.eye(latents))
    mean = torch.randn(n, latents, generator=rng) @ root.T
    z = mean + noise * torch.randn(n, latents, generator=rng)
    return z, guided.Posterior(mean, 2 * torch.full_like(mean, noise).log())


def test_of_all_images_it_is_that_of_the_gaussian():
    z, posterior = gaussian(COVARIANCE, 2000)
    found = {e: float(total_correlation(z, posterior, 2000, e)) for e in ESTIMATORS}
    assert found["stratified"] == pytest.approx(KNOWN, abs=0.04)
    high = 2 * torch.tensor(2000.0).log()  # (latents - 1) log N
    assert found["weighted"] == pytest.approx(found["stratified"] + float(high), abs=1e-3)
    z, posterior = gaussian(torch.eye(3), 2000)
    assert float(total_correlation(z, posterior, 2000)) == pytest.approx(0, abs=0.04)


def test_of_batches_it_comes_nearer_as_they_grow():
    z, posterior = gaussian(COVARIANCE, 2000)
    errors = []
    for size in (25, 100, 500):
        chunks = (t.split(size) for t in (z, posterior.mean, posterior.logvar))
        found = [
            total_correlation(a, guided.Posterior(b, c), 2000)
            for a, b, c in zip(*chunks, strict=True)
        ]
        errors.append(abs(float(torch.stack(found).mean()) - KNOWN))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_numerically(estimator):
    z, posterior = batch()
    inputs = [t.clone().requires_grad_() for t in (z, posterior.mean, posterior.logvar)]
    assert torch.autograd.gradcheck(
        lambda z, m, v: total_correlation(z, guided.Posterior(m, v), 50, estimator), inputs
    )


def test_views_are_batches_of_their_own():
    z, posterior = batch(12)
    found = build(views=2).losses(torch.empty(0), posterior, z, {})["total_correlation"]
    halves = [
        total_correlation(
            z[part], guided.Posterior(posterior.mean[part], posterior.logvar[part]), 50
        )
        for part in (slice(0, 6), slice(6, 12))
    ]
    torch.testing.assert_close(found, (halves[0] + halves[1]) / 2)


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(guided.InputError, match=r"TotalCorrelation\.weight: expected at least 0"):
        guided.TotalCorrelation(weight=-1)
    with pytest.raises(guided.InputError, match="the number of training images is not known"):
        build(n_images=None)
