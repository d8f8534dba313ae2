"""Codes of the locally competitive algorithm: the minimum, scikit-learn, stability."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Lasso

from guided import InputError
from guided.sparse_coding import encode, violation


@pytest.fixture
def problem():
    """40 points in 32 dimensions and 64 atoms of norm 1, the first point 0."""
    rng = torch.Generator().manual_seed(0)
    atoms = F.normalize(torch.randn(64, 32, generator=rng))
    x = torch.randn(40, 32, generator=rng) / 3
    x[0] = 0
    return x, atoms


def objective(x, atoms, sparsity, codes):
    fit = (x.double() - codes.double() @ atoms.double()).square().sum(1) / 2
    return fit + sparsity * codes.double().abs().sum(1)


@pytest.mark.parametrize("momentum", [0.0, 0.9], ids=["as published", "momentum"])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("scaled", [False, True], ids=["norm 1", "any norm"])
def test_codes_are_the_minimum(problem, nonnegative, scaled, momentum):
    """The conditions of the minimum, and scikit-learn's coordinate descent."""
    x, atoms = problem
    if scaled:
        atoms = atoms * torch.linspace(0.5, 2, 64)[:, None]
    sparsity = 0.3
    codes = encode(
        x, atoms, sparsity, nonnegative=nonnegative, momentum=momentum, tolerance=1e-5, steps=20_000
    )
    explained = (x - codes @ atoms) @ atoms.T
    active = codes != 0
    assert 100 < active.sum() < 1000 and not active[0].any()
    assert (explained - sparsity * codes.sign())[active].abs().max() <= 1e-4
    idle = explained[~active] if nonnegative else explained[~active].abs()
    assert idle.max() <= sparsity + 1e-4
    assert (codes < 0).any() != nonnegative
    lasso = Lasso(
        sparsity / 32,  # of the fit's mean over dimensions
        fit_intercept=False,
        positive=nonnegative,
        tol=1e-12,
        max_iter=100_000,
    )
    fits = lasso.fit(atoms.T.double().numpy(), x.T.double().numpy())
    theirs = torch.from_numpy(fits.coef_)
    assert (codes - theirs).abs().max() <= 1e-3
    gap = objective(x, atoms, sparsity, codes) - objective(x, atoms, sparsity, theirs)
    assert gap.abs().max() <= 1e-6


@pytest.mark.parametrize("nonnegative", [False, True])
def test_orthonormal_atoms_have_the_threshold_of_their_products_as_code(nonnegative):
    rng = torch.Generator().manual_seed(1)
    atoms = torch.linalg.qr(torch.randn(20, 20, generator=rng, dtype=torch.float64)).Q[:15]
    x = torch.randn(30, 20, generator=rng, dtype=torch.float64)
    products = x @ atoms.T
    expected = (products.abs() - 0.3).clamp_min(0) * products.sign()
    if nonnegative:
        expected = expected.clamp_min(0)
    found = encode(x, atoms, 0.3, nonnegative=nonnegative, tolerance=1e-9)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_limit_of_stability_is_that_of_a_plain_loop(momentum):
    """With every atom active, the equation as written diverges just below it, and is refused."""
    rng = torch.Generator().manual_seed(2)
    atoms = torch.randn(6, 9, generator=rng, dtype=torch.float64)
    x = 10 * torch.rand(1, 6, generator=rng, dtype=torch.float64) @ atoms
    limit = float(torch.linalg.eigvalsh(atoms @ atoms.T)[-1]) / (2 * (1 + momentum))
    solution = torch.linalg.lstsq(atoms.T, x.T).solution.T  # almost: the sparsity is tiny

    def loop(tau):
        u = previous = torch.zeros(1, 6, dtype=torch.float64)
        for _ in range(3000):
            a = u.sign() * (u.abs() - 1e-9).clamp_min(0)
            ahead = atoms @ x[0] - u[0] - (atoms @ atoms.T - torch.eye(6)) @ a[0]
            u, previous = u + ahead / tau + momentum * (u - previous), u
        return u

    assert (loop(1.02 * limit) - solution).abs().max() < 1e-3
    assert loop(0.98 * limit).abs().max() > 1e6
    given = {"momentum": momentum, "steps": 5000, "tolerance": 1e-8}
    stable = encode(x, atoms, 1e-9, tau=1.02 * limit, **given)
    assert (stable - solution).abs().max() < 1e-3
    with pytest.raises(InputError, match=r"encode\.tau: expected more than .*, got"):
        encode(x, atoms, 1e-9, tau=0.98 * limit, **given)


def test_a_code_depends_on_its_own_row_and_stops_at_the_bound(problem):
    x, atoms = problem
    codes = encode(x, atoms, 0.1)
    assert violation(x, atoms, 0.1, codes).max() <= 1e-4
    alone = torch.cat([encode(row[None], atoms, 0.1) for row in x[:5]])
    torch.testing.assert_close(alone, codes[:5], rtol=0, atol=1e-5)
    early = encode(x, atoms, 0.1, steps=7)
    assert violation(x, atoms, 0.1, early).max() > 1e-2
    assert encode(x[:0], atoms, 0.1).shape == (0, 64)


@pytest.mark.parametrize("given", [{"sparsity": 0}, {"momentum": 1}, {"steps": 0}])
def test_numbers_out_of_range_are_refused(problem, given):
    with pytest.raises(InputError, match=f"encode.{next(iter(given))}: expected"):
        encode(*problem, **{"sparsity": 0.1, **given})
