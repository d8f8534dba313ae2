"""A Gaussian over deformations: drawn by an augmentation, estimated, and kept in a file."""

import re

import pytest
import torch
from sklearn.covariance import ledoit_wolf

from guided import Augmentation, Deformations, InputError
from guided.deformations import covariance_of, root, shrunk
from guided.free_form import N_COEFFICIENTS, coefficients_of, shifts
from guided.storage.files import write_weights

K, SIDE = N_COEFFICIENTS, 16


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def some_covariance(seed=0, scale=0.05):
    factors = scale * torch.randn(K, 6, generator=rng(seed))
    return factors @ factors.T + 1e-4 * torch.eye(K)


@pytest.fixture
def model():
    return Deformations(some_covariance(0), some_covariance(1))


@pytest.fixture
def file(model, tmp_path):
    model.save(tmp_path / "deformations.safetensors")
    return tmp_path / "deformations.safetensors"


def test_draws_have_the_covariance():
    covariance = some_covariance()
    draws = torch.randn(50_000, K, generator=rng()) @ root(covariance)
    found = draws.T @ draws / len(draws)
    assert (found - covariance).abs().max() < 0.02 * covariance.diagonal().max()


@pytest.mark.parametrize("n", [5, 400])
def test_shrinkage_is_scikit_learns(n):
    draws = torch.randn(n, K, generator=rng()) @ root(some_covariance())
    expected, amount = ledoit_wolf(draws.double().numpy(), assume_centered=True)
    assert amount > 0
    torch.testing.assert_close(shrunk(draws), torch.from_numpy(expected).float())


def test_the_covariance_of_shifts_by_hand():
    """A translation moves all control points alike, each axis on its own, uniformly."""
    found = covariance_of(Augmentation(translation=0.3))
    alike = torch.full((16, 16), 0.3**2 / 3)
    expected = torch.block_diag(alike, alike)
    assert (found - expected).abs().max() < 0.05 * expected.max()
    with pytest.raises(InputError, match="moves no image"):
        covariance_of(Augmentation(thickness=0.5))


def test_an_augmentation_draws_what_was_learned(model, file):
    """The shifts have the covariance; other draws are those of the same settings without it."""
    learned = Augmentation(learned=file, strength=0.5)
    assert learned.active
    assert learned.known == ()
    drawn = coefficients_of(learned.shifts((SIDE, SIDE), 20_000, rng()))
    found = 4 * drawn.T @ drawn / len(drawn)
    assert (found - model.covariance).abs().max() < 0.05 * model.covariance.diagonal().max()
    limits = {"rotation": 20, "thickness": 0.5, "elastic": 0.1, "views": 2}
    images = torch.rand(3, 1, SIDE, SIDE, generator=rng(1))
    plain, both, none = (
        Augmentation(**limits, **more).deform(images, rng())
        for more in ({}, {"learned": file}, {"learned": file, "strength": 0})
    )
    assert torch.equal(plain.images, none.images)
    assert not torch.allclose(plain.images, both.images, atol=0.1)
    for name, amounts in plain.amounts.items():
        assert torch.equal(amounts, both.amounts[name])


def test_principal_deformations_move_most_and_make_up_the_covariance(model):
    steps, shares = model.principal(K)
    torch.testing.assert_close(steps.T @ steps, model.covariance, atol=1e-5, rtol=0)
    assert float(shares.sum()) == pytest.approx(1)
    lengths = shifts(steps, 28, 28).square().sum(3).mean((1, 2))
    torch.testing.assert_close(lengths / lengths.sum(), shares, atol=1e-4, rtol=0)
    assert torch.equal(shares, shares.sort(descending=True).values)


def test_round_trip(model, file):
    found = Deformations.load(file)
    assert torch.equal(found.covariance, model.covariance)
    assert torch.equal(found.aligned, model.aligned)


def test_files_that_cannot_be_used_are_named(model, file, tmp_path):
    with pytest.raises(InputError, match=r"learned: .*none\.safetensors: no such file"):
        Augmentation(learned=tmp_path / "none.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(file))):
        Deformations.load(file)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no file of learned deformations"):
        Deformations.load(file)
    write_weights(file, vars(model), {"format": "another"})
    with pytest.raises(InputError, match="no file of learned deformations"):
        Deformations.load(file)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.eye(3), r"expected float32 \[32, 32\]"),
        (torch.triu(torch.ones(K, K)), "symmetric"),
        (-torch.eye(K), "eigenvalues"),
        (torch.full((K, K), torch.nan), "finite"),
    ],
)
def test_what_is_no_covariance_is_refused(wrong, message):
    with pytest.raises(InputError, match=f"aligned: .*{message}"):
        Deformations(torch.eye(K), wrong)
