"""Sparse codes by the locally competitive algorithm (LCA)."""

from typing import NamedTuple

import torch
from torch import Tensor

from guided.errors import InputError
from guided.ranges import Count, Positive, check

CHECKED_EVERY = 10
POWER_STEPS = 50
TINY = 1e-30
MARGIN = 1.1
FALL = 0.9


@torch.no_grad()
def encode(
    x: Tensor,
    atoms: Tensor,
    sparsity: float,
    *,
    nonnegative: bool = False,
    tau: float | None = None,
    momentum: float = 0.9,
    steps: int = 1000,
    tolerance: float = 1e-4,
) -> Tensor:
    """Codes a that minimise ½ ‖x − a D‖² + λ ‖a‖₁, the rows of D being the atoms.

    Source: Rozell et al. (2008), Neural Computation 20, 2526-2563: τ du/dt = D x − u − (D Dᵀ − I) a
    with a = T_λ(u), the soft threshold, integrated by Euler's method with steps of length 1. At its
    fixed point u − a = D (x − a D), which is the condition of the minimum. Atoms may have any norm.

    Differs from the paper: u has momentum, which changes the way to the fixed point and not the
    fixed point; ``momentum=0`` is the paper's equation. A row stops when its :func:`violation` is
    at most ``tolerance``.

    Args:
        x: ``[B, n]``.
        atoms: D, ``[K, n]``.
        sparsity: λ > 0, in the units of x.
        nonnegative: a ≥ 0, by a one-sided threshold.
        tau: τ, in steps; stable above λ_max(D Dᵀ) / (2 (1 + momentum)). ``None``: a tenth more.
        momentum: share of the last change of u that is added to the next, in [0, 1), at first: it
            falls for a row that does not come nearer.
        steps: at most; a row that has not stopped by then has the code that it had.
        tolerance: largest violation of a row that has stopped.

    Returns:
        ``[B, K]``; a row is a function of its x and the atoms alone.

    Raises:
        InputError: a number is out of its range, or the time constant is unstable.
    """
    check(Positive, sparsity, "encode.sparsity")
    check(Count, steps, "encode.steps")
    check(Positive, tolerance, "encode.tolerance")
    if not 0 <= momentum < 1:
        raise InputError(f"encode.momentum: expected a share in [0, 1), got {momentum}")
    gram = atoms @ atoms.mT
    least = _least_tau(gram, tau, momentum)
    inhibition = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    problem = _Problem(x @ atoms.mT, inhibition, sparsity, nonnegative)
    return _descend(problem, tau, least, momentum, steps, tolerance)


class _Problem(NamedTuple):
    """The problem: D x, ``[B, K]``; D Dᵀ − I, ``[K, K]``; λ; and if codes are nonnegative."""

    drive: Tensor
    inhibition: Tensor
    sparsity: float
    nonnegative: bool


def _descend(
    problem: _Problem,
    tau: float | None,
    least: float,
    momentum: float,
    steps: int,
    tolerance: float,
) -> Tensor:
    """The codes, ``[B, K]``, after the rows have stopped; arguments as for :func:`encode`."""
    drive, inhibition, sparsity, nonnegative = problem
    codes = torch.zeros_like(drive)
    rows = torch.arange(len(drive), device=drive.device)
    a = u = change = torch.zeros_like(drive)
    share = drive.new_full((len(drive), 1), momentum)
    worst = drive.new_full((len(drive),), torch.inf)
    for step in range(steps):
        goal = torch.addmm(drive, a, inhibition, alpha=-1)  # of u; a + D (x − a D)
        if step % CHECKED_EVERY == 0:
            before, worst = worst, (shrink(goal, sparsity, nonnegative) - a).abs().amax(1)
            # The threshold lets momentum overshoot for ever, so it falls until it does not.
            share = torch.where((worst > before)[:, None], FALL * share, share)
            moving = worst > tolerance
            if not moving.all():
                codes[rows] = a
                rows, drive, goal, u, change, share, worst = (
                    part[moving] for part in (rows, drive, goal, u, change, share, worst)
                )
                if not len(rows):
                    return codes
        change = share * change + (goal - u) / (tau or MARGIN * least / (1 + share))
        u = u + change
        a = shrink(u, sparsity, nonnegative)
    codes[rows] = a
    return codes


def _least_tau(gram: Tensor, tau: float | None, momentum: float) -> float:
    """The limit of stability without momentum; a τ below that with it is refused."""
    least = max(largest_eigenvalue(gram), 1) / 2  # an inactive atom's u decays on its own
    if tau is not None and not tau > least / (1 + momentum):
        raise InputError(
            f"encode.tau: expected more than {least / (1 + momentum):.3g}, the limit of stability "
            f"for these atoms, got {tau}"
        )
    return least


@torch.no_grad()
def violation(
    x: Tensor, atoms: Tensor, sparsity: float, codes: Tensor, *, nonnegative: bool = False
) -> Tensor:
    """Largest violation of the conditions of the minimum by codes, in the units of x, ``[B]``.

    With c = D (x − a D): c = λ sign a where a ≠ 0, and |c| ≤ λ elsewhere (c ≤ λ if nonnegative).

    Args:
        x, atoms, sparsity, nonnegative: as for :func:`encode`.
        codes: ``[B, K]``.
    """
    goal = codes + (x - codes @ atoms) @ atoms.mT
    return (shrink(goal, sparsity, nonnegative) - codes).abs().amax(1)


def shrink(u: Tensor, sparsity: float, nonnegative: bool) -> Tensor:
    """The soft threshold T_λ(u), elementwise; one-sided if nonnegative."""
    if nonnegative:
        return (u - sparsity).clamp_min_(0)
    return u - u.clamp(-sparsity, sparsity)


def largest_eigenvalue(gram: Tensor) -> float:
    """The largest eigenvalue of a positive semidefinite matrix, by power iteration from below."""
    start = torch.randn(len(gram), generator=torch.Generator().manual_seed(0), dtype=gram.dtype)
    vector, found = start.to(gram.device), gram.new_zeros(())
    for _ in range(POWER_STEPS):
        vector = gram @ (vector / vector.norm().clamp_min(TINY))
        found = vector.norm()
    return float(found)
