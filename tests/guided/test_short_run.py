"""Short chains against their closed form with a linear decoder and Gaussian pixels.

There U is quadratic with curvature P = I + WᵀW/σ² around m = P⁻¹Wᵀ(x - b)/σ², and a step is
z - m ← A (z - m) + T s ε with A = I - ½ s² P.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from guided import Conv4, Gaussian, InputError
from guided.decoder import Decoder
from guided.likelihoods import Bernoulli
from guided.short_run import Langevin, chain_density, largest_curvature, log_joint, run_chain

D, SCALE = 3, 0.7
EYE = torch.eye(D, dtype=torch.float64)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def linear():
    """A decoder of 3 latents to 2 × 3 pixels, two images, and what is known of their posteriors."""
    torch.manual_seed(0)
    layer = nn.Linear(D, 6)
    nn.init.normal_(layer.weight)
    network = nn.Sequential(layer, nn.Unflatten(1, (1, 2, 3)))
    decoder = Decoder(network, Gaussian(scale=SCALE, learned=False), D).double().eval()
    images = torch.rand(2, 1, 2, 3, generator=rng(), dtype=torch.float64)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    precision = EYE + weight.T @ weight / SCALE**2
    mean = (images.flatten(1) - bias) @ weight @ precision.inverse() / SCALE**2
    covariance = weight @ weight.T + SCALE**2 * torch.eye(6, dtype=torch.float64)
    evidence = MultivariateNormal(bias, covariance).log_prob(images.flatten(1))
    return SimpleNamespace(
        decoder=decoder,
        images=images,
        precision=precision,
        mean=mean,
        evidence=evidence,
        largest=float(torch.linalg.eigvalsh(precision)[-1]),
    )


def contraction(linear, size):
    return EYE - 0.5 * size**2 * linear.precision


def power(matrix, k):
    return torch.linalg.matrix_power(matrix, k)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def test_log_joint_is_the_density(linear):
    """log p(x, z) = log p(x) + log p(z|x), for three latents of each image."""
    z = draws(3, 2, D)
    posterior = MultivariateNormal(linear.mean, precision_matrix=linear.precision)
    expected = linear.evidence + posterior.log_prob(z)
    torch.testing.assert_close(log_joint(linear.decoder, linear.images, z), expected)


@pytest.mark.parametrize("sizes", [0.4, [0.5, 0.3], [0.1, 0.2, 0.3, 0.4]])
def test_a_chain_is_its_closed_form(linear, sizes):
    steps = Langevin(4, sizes)
    start, noise = draws(5, 2, D), draws(4, 5, 1, D, seed=1)  # the same noise for both images
    expected = start
    for size, epsilon in zip(steps.sizes, noise, strict=True):
        moved = (expected - linear.mean) @ contraction(linear, size)
        expected = linear.mean + moved + 0.6 * size * epsilon
    with torch.no_grad():
        found = run_chain(linear.decoder, linear.images, start, steps, 0.6 * noise)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_a_descent_ends_at_the_posterior_mode(linear):
    start, steps = draws(2, D), Langevin(7, 0.3)
    moved = (start - linear.mean) @ power(contraction(linear, 0.3), 7)
    found = run_chain(linear.decoder, linear.images, start, steps)
    torch.testing.assert_close(found, linear.mean + moved, rtol=0, atol=1e-5)
    last = run_chain(linear.decoder, linear.images, start, Langevin(200, 0.5))
    torch.testing.assert_close(last, linear.mean)


@pytest.mark.parametrize("k", [3, 40])
def test_moments_of_many_chains_and_of_their_stationary_law(linear, k):
    """From N(0, I): mean (I - A^K) m, covariance A^2K + T² s² Σ A^2j. For long chains the variance
    along an eigenvector of P is T² / (p (1 - ¼ s² p)), which is not the posterior's 1 / p."""
    size, temperature, n = 0.4, 0.5, 10_000
    steps = Langevin(k, size)
    image, mean = linear.images[:1], linear.mean[:1]
    start, noise = (
        torch.randn(n, 1, D, generator=rng()),
        steps.noise((n, 1, D), rng(1), temperature),
    )
    found = run_chain(linear.decoder, image, start.double(), steps, noise.double())[:, 0]
    a = contraction(linear, size)
    rest = sum(power(a, 2 * j) for j in range(k))
    covariance = power(a, 2 * k) + temperature**2 * size**2 * rest
    spread = covariance.diagonal()
    expected = (mean @ (EYE - power(a, k)))[0]
    assert ((found.mean(0) - expected).abs() < 5 * (spread / n).sqrt()).all()
    bound = 5 * ((spread[:, None] * spread + covariance**2) / n).sqrt()
    assert ((torch.cov(found.T) - covariance).abs() < bound).all()
    if k == 40:
        p, vectors = torch.linalg.eigh(linear.precision)
        stationary = temperature**2 / (p * (1 - size**2 * p / 4))
        along = (found @ vectors).var(0)
        assert ((along / stationary - 1).abs() < 5 * (2 / n) ** 0.5).all()
        assert (along * p < 0.7).all()


def test_log_joint_never_falls_up_to_the_curvature_bound(linear):
    """In a descent, exactly where ½ s² p <= 2 for the largest curvature p, which is found."""
    found = largest_curvature(linear.decoder, linear.images, draws(2, D), iterations=200)
    torch.testing.assert_close(found, torch.full_like(found, linear.largest))

    def changes(size):
        start = draws(50, 2, D)
        states = [
            start,
            *(run_chain(linear.decoder, linear.images, start, Langevin(k, size)) for k in (1, 2)),
        ]
        values = [log_joint(linear.decoder, linear.images, z) for z in states]
        return torch.stack([values[1] - values[0], values[2] - values[1]])

    assert (changes(math.sqrt(2 * 1.99 / linear.largest)) > 0).all()
    assert (changes(math.sqrt(2 * 2.3 / linear.largest)) < 0).any()


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_chain_density_is_the_closed_form_of_a_gaussian(linear, temperature):
    """With the noises held fixed, z_K is N(μ, A^2K); so are its KL and the bound."""
    size, k, n = 0.25, 3, 20_000
    steps = Langevin(k, size)
    noise = temperature * draws(k, 1, 2, D, seed=2) if temperature else None
    origin, start = torch.zeros(1, 2, D).double(), draws(n, 2, D, seed=3)
    middle = run_chain(linear.decoder, linear.images, origin, steps, noise)[0]
    law = MultivariateNormal(middle, power(contraction(linear, size), 2 * k))
    found = chain_density(linear.decoder, linear.images, start, steps, noise)
    torch.testing.assert_close(found.log_q, law.log_prob(found.z))
    prior = MultivariateNormal(torch.zeros(D).double(), EYE)
    posterior = MultivariateNormal(linear.mean, precision_matrix=linear.precision)
    for terms, expected in (
        (found.kl, kl_divergence(law, prior)),
        (found.bound + linear.evidence, kl_divergence(law, posterior)),
    ):
        error = terms.std(0) / math.sqrt(n)
        assert ((terms.mean(0) - expected).abs() < 5 * error).all()
    assert not found.z.requires_grad and not found.log_q.requires_grad


def test_the_bound_is_lowest_at_the_step_size_of_the_closed_form(linear):
    sizes = [0.1, 0.2, 0.3, 0.4, 0.5, 0.55]
    posterior = MultivariateNormal(linear.mean, precision_matrix=linear.precision)
    exact, estimated = [], []
    for size in sizes:
        a = contraction(linear, size)
        moved = MultivariateNormal(linear.mean @ (EYE - power(a, 3)), power(a, 6))
        exact.append(float(kl_divergence(moved, posterior).mean()))
        density = chain_density(linear.decoder, linear.images, draws(4000, 2, D), Langevin(3, size))
        estimated.append(float(density.bound.mean()))
    best = exact.index(min(exact))
    assert 0 < best < len(sizes) - 1
    assert estimated.index(min(estimated)) == best


def test_the_jacobian_of_a_network_is_that_of_finite_differences():
    """Bernoulli pixels and a network whose curvature changes from place to place."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4), nn.Unflatten(1, (1, 2, 2)))
    decoder = Decoder(network, Bernoulli(), 2).double()
    images, start = torch.rand(3, 1, 2, 2, dtype=torch.float64), draws(3, 2)
    steps = Langevin(5, 0.6, clip=0.9)
    noise = 0.3 * draws(5, 3, 2, seed=1)

    def last(z):
        return run_chain(decoder, images, z, steps, noise)

    moved = [1e-6 * unit for unit in torch.eye(2, dtype=torch.float64)]
    columns = [(last(start + m) - last(start - m)) / 2e-6 for m in moved]
    stretch = torch.linalg.slogdet(torch.stack(columns, 2)).logabsdet
    found = chain_density(decoder, images, start, steps, noise)
    torch.testing.assert_close(found.log_prior - found.kl, found.log_prior * 2 - found.log_q)
    prior = -0.5 * (start.square() + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(found.log_q, prior - stretch, rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_image_by_image(linear):
    start = linear.mean + torch.tensor([[1e-4], [50.0]]).double() * torch.ones(2, D).double()
    moved = run_chain(linear.decoder, linear.images, start, Langevin(1, 0.2, clip=2.0)) - start
    free = run_chain(linear.decoder, linear.images, start, Langevin(1, 0.2)) - start
    torch.testing.assert_close(moved[0], free[0])
    assert float(moved[1].norm()) == pytest.approx(0.5 * 0.2**2 * 2.0)
    torch.testing.assert_close(moved[1] / moved[1].norm(), free[1] / free[1].norm())


def test_chains_of_a_convolutional_decoder_leave_it_alone():
    torch.manual_seed(0)
    decoder = Decoder(Conv4((1, 16, 16), width=4, decoder_norm="none").decoder(5), Bernoulli(), 5)
    images = torch.rand(4, 1, 16, 16)
    steps = Langevin(6, 0.1)
    start, noise = torch.randn(2, 4, 5), steps.noise((2, 1, 5), rng())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = run_chain(decoder, images, start, steps, noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, run_chain(decoder, images, start, steps, noise))
    alone = run_chain(decoder, images[1:2], start[:, 1:2], steps, noise)
    torch.testing.assert_close(found[:, 1:2], alone)
    assert all(p.grad is None and p.requires_grad for p in decoder.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, r"steps: expected at least 1, got 0"),
        ({"step_size": 0.0}, r"step_size: expected > 0, got 0"),
        ({"step_size": [0.1, -1.0]}, r"step_size\.1: expected > 0, got -1"),
        ({"step_size": []}, r"step_size: expected 1 to 20 sizes"),
        ({"steps": 1, "step_size": [0.2, 0.1]}, "expected 1 to 1 sizes, one a step, got 2"),
        ({"clip": 0.0}, r"clip: expected > 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Langevin(**settings)
