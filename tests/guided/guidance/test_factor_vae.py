"""FactorVAE's discriminator: its estimate where it is known, and who gets which gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

import guided
from guided.guidance.factor_vae import independent
from guided.latents import LatentAllocator


def build(latents=2, views=1, **settings):
    torch.manual_seed(0)
    context = guided.GuidanceContext((1, 8, 8), LatentAllocator(latents), {}, views)
    return guided.FactorVAE(**settings).build(context)


def terms(guidance, z):
    return guidance.losses(torch.empty(0), guided.Posterior(z, z), z, {})


def trained(correlation, steps=400):
    """The discriminator's last losses, and its estimate, on Gaussians of this correlation."""
    guidance, rng = build(hidden=32, layers=2), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(guidance.adversary_parameters(), 3e-3)
    losses, estimates = [], []
    for _ in range(steps):
        z = torch.randn(256, 2, generator=rng)
        z[:, 1] = correlation * z[:, 0] + math.sqrt(1 - correlation**2) * z[:, 1]
        estimates.append(terms(guidance, z)["factor_vae"].detach())
        loss = guidance.adversary_losses(z, {})["discriminator/factor_vae"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return (float(torch.stack(values[-100:]).mean()) for values in (losses, estimates))


def test_factorised_codes_leave_it_at_chance():
    loss, estimate = trained(0.0)
    assert loss == pytest.approx(math.log(2), abs=0.01)
    assert estimate == pytest.approx(0, abs=0.05)


def test_correlated_codes_have_the_total_correlation_of_the_gaussian():
    loss, estimate = trained(0.9)
    assert loss < math.log(2) - 0.1
    assert estimate == pytest.approx(-0.5 * math.log(1 - 0.81), abs=0.15)  # 0.83 nats


def test_each_latent_of_an_independent_row_is_of_another_image():
    numbers = torch.arange(12.0)[:, None].expand(12, 5)
    rows = independent(numbers)
    assert all(row.unique().numel() == 5 for row in rows)
    assert all(column.sort().values.equal(numbers[:, 0]) for column in rows.T)
    # The second half of a batch of two views has the same images.
    assert all((row % 6).unique().numel() == 5 for row in rows)


def test_the_loss_is_the_cross_entropy_and_moves_the_discriminator_alone():
    guidance = build(latents=4)
    z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    both = torch.cat([z, independent(z)])
    logits, truth = guidance.discriminator(both)[:, 0], torch.arange(18) < 9
    found = guidance.adversary_losses(z, {})["discriminator/factor_vae"]
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, truth.float()))
    found.backward()
    assert z.grad is None
    assert all(p.grad.any() for p in guidance.adversary_parameters())
    guidance.zero_grad()
    term = terms(guidance, z)
    torch.testing.assert_close(term, {"factor_vae": logits[:9].mean()})
    term["factor_vae"].backward()
    assert z.grad.any() and all(p.grad is None for p in guidance.parameters())
    assert {id(p) for p in guidance.parameters()} == {
        id(p) for p in guidance.adversary_parameters()
    }


def test_gradients_numerically():
    guidance = build(latents=3, hidden=8).double()
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: terms(guidance, z)["factor_vae"], z)


@pytest.mark.parametrize("views", [1, 2])
def test_a_batch_smaller_than_the_latents_is_refused(views):
    guidance = build(latents=4, views=views)
    guidance.adversary_losses(torch.randn(4 * views, 4), {})
    with pytest.raises(guided.InputError, match="batch_size of at least the 4 latents, got 3"):
        guidance.adversary_losses(torch.randn(3 * views, 4), {})


def test_impossible_settings_are_refused():
    for name, value in (("weight", -1.0), ("hidden", 0), ("layers", 0)):
        with pytest.raises(guided.InputError, match=rf"FactorVAE\.{name}: expected"):
            guided.FactorVAE(**{name: value})
