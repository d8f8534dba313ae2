"""The capacity's schedule, and the β-VAEs that it makes."""

import pytest
import torch

import guided
from guided.guidance.capacity import CapacityModule


def noise():
    return torch.Generator().manual_seed(7)


def objective(model):
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return model.objective(images, {}, generator=noise())


def test_the_capacity_grows_linearly_and_stays():
    settings = guided.Capacity(nats=20, steps=100)
    assert [settings.at(step) for step in (0, 25, 99, 100, 5000)] == [0, 5, 19.8, 20, 20]


def test_without_nats_it_is_beta_vae(build_model):
    beta, plain = (
        objective(build_model(guided.Capacity(weight=3, nats=0))),
        objective(build_model(kl_weight=4)),
    )
    torch.testing.assert_close(beta.total, plain.total)


@pytest.mark.parametrize("nats", [0.001, 50.0])
def test_in_place_of_the_elbos_own_kl_it_is_burgess(build_model, nats):
    """γ |KL - C|, on either side of the capacity."""
    model = build_model(guided.Capacity(weight=7, nats=nats, steps=1), kl_weight=0)
    model.start_step(1)
    found = objective(model)
    kl = float(found.terms["kl"].detach())
    assert 0.001 < kl < 50
    expected = float(found.terms["reconstruction"].detach()) + 7 * abs(kl - nats)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(found.terms["capacity"], found.posterior.mean)
    below = 1 if kl > nats else -1
    torch.testing.assert_close(gradient, below * found.posterior.mean / 6)


def test_training_tells_the_number_of_each_step(make_images, tmp_path, monkeypatch):
    """Also after it was resumed."""
    told = []
    monkeypatch.setattr(CapacityModule, "start_step", lambda _, number: told.append(number))
    images = guided.LabelledImages(make_images(8))
    how = {"latent_dim": 4, "batch_size": 8, "validate_every": 2, "state_file": tmp_path / "state"}
    for steps in (2, 4):
        guided.pretrain(images, guidance=[guided.Capacity()], steps=steps, **how)
    assert told == [0, 1, 2, 3]


def test_impossible_settings_are_refused():
    for name, value in (("weight", -1), ("nats", -1), ("steps", 0)):
        with pytest.raises(guided.InputError, match=rf"Capacity\.{name}: expected at least"):
            guided.Capacity(**{name: value})
