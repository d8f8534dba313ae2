"""The posterior and the ELBO against torch.distributions."""

import pytest
import torch
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Normal, kl_divergence

from guided import VAE, Bernoulli, Conv4, Gaussian, LatentLayout, Posterior


def test_sample_has_the_moments_of_the_posterior():
    n = 200_000
    mean, logvar = torch.tensor([1.5, -2.0, 0.0]), torch.tensor([-1.0, 1.0, 0.0])
    posterior = Posterior(mean.expand(n, 3), logvar.expand(n, 3))
    draws = posterior.sample(torch.Generator().manual_seed(0))
    variance = logvar.exp()
    # Five standard errors of the mean and of the variance of n Gaussian draws.
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    assert ((draws.var(0) - variance).abs() < 5 * variance * (2 / n) ** 0.5).all()
    assert (torch.corrcoef(draws.T) - torch.eye(3)).abs().max() < 5 / n**0.5


def test_sample_is_a_reparameterised_function_of_its_generator():
    posterior = Posterior(*torch.randn(2, 5, 3, dtype=torch.float64).requires_grad_())
    before = torch.get_rng_state()
    z, again, other = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(z, again)
    assert not torch.isclose(z, other).any()
    assert torch.equal(before, torch.get_rng_state())
    # z = mean + std * noise, so dz/dmean = 1 and dz/dlogvar = (z - mean) / 2.
    gradients = torch.autograd.grad(z.sum(), [posterior.mean, posterior.logvar])
    expected = torch.ones_like(z), 0.5 * (z - posterior.mean)
    torch.testing.assert_close(gradients, expected)


@pytest.fixture(params=[Bernoulli(), Gaussian(scale=0.3)], ids=["bernoulli", "gaussian"])
def vae(request):
    torch.manual_seed(0)
    layout = LatentLayout({"content": (0, 6)})
    return VAE(Conv4((3, 16, 16), width=4), layout, request.param).double().eval()


def test_losses_are_the_negative_elbo(vae):
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64).round()
    posterior = vae.posterior(images)
    z = posterior.sample(torch.Generator().manual_seed(0))
    gaussian = isinstance(vae.likelihood, Gaussian)
    pixels = Normal(vae.decode(z), 0.3) if gaussian else BernoulliDistribution(vae.decode(z))
    nll = -pixels.log_prob(images).sum((1, 2, 3)).mean()
    kl = kl_divergence(Normal(posterior.mean, (0.5 * posterior.logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), kl)
    expected = {"reconstruction": nll, "kl": kl.sum(1).mean()}
    torch.testing.assert_close(vae.losses(images, posterior, z), expected, rtol=1e-6, atol=0)


def test_bfloat16_rounds_the_codes_and_not_the_terms(vae):
    """Of codes that a forward pass in bfloat16 gave; the decoder is such a pass itself."""
    vae = vae.float()
    images, codes = torch.rand(4, 3, 16, 16), torch.randn(3, 4, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = vae.losses(images, Posterior(codes[0], codes[1]), codes[2])
    draw, mean, logvar = codes[2].float(), codes[0].float(), codes[1].float()
    whole = vae.losses(images, Posterior(mean, logvar), draw)
    assert {term.dtype for term in rounded.values()} == {torch.float32}
    torch.testing.assert_close(rounded["kl"], whole["kl"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        rounded["reconstruction"], whole["reconstruction"], rtol=0.02, atol=0
    )


def test_every_parameter_of_the_vae_gets_a_gradient(vae):
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    posterior = vae.train().posterior(images)
    sum(vae.losses(images, posterior, posterior.sample()).values()).backward()
    idle = [n for n, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
