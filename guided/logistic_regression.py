"""Multinomial logistic regressions, many at once, by Newton's method."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from guided.errors import InputError

PRECISION = 1e-6  # of the weights, for features of mean squared norm 1
NEWTON_STEPS = 50
CONJUGATE_STEPS = 1000
TINY = 1e-300


class LogisticRegressions:
    """E multinomial logistic regressions: weights V ``[E, m + 1, k]``, the last row intercepts.

    Minimises Σ cross-entropy + penalty / 2 · ‖V‖², without the intercepts in the penalty: what
    scikit-learn's ``LogisticRegression(C=1 / penalty)`` minimises.

    Args:
        features: ``[E, n, m]``, double precision.
        one_hot: labels ``[n, k]``, the same for all.
        penalty: of all rows of V but the last, > 0.
        owner: the setting that holds the penalty, for messages.
    """

    def __init__(
        self, features: Tensor, one_hot: Tensor, penalty: float, owner: str = "penalty"
    ) -> None:
        self.z = F.pad(features, (0, 1), value=1.0)
        self.one_hot, self.penalty, self.owner = one_hot, penalty, owner
        self.penalties = self.z.new_full((self.z.shape[2], 1), penalty)
        self.penalties[-1] = 0

    def solve(self) -> tuple[Tensor, Tensor]:
        """The solution, and its probabilities of the classes ``[E, n, k]``.

        Raises:
            InputError: it is not found.
        """
        v = self.z.new_zeros(len(self.z), self.z.shape[2], self.one_hot.shape[1])
        value, p = self._objective(v)
        # The objective is as convex as the penalty, so this bounds the distance to the solution.
        tolerance = PRECISION * min(self.penalty, 1)
        for _ in range(NEWTON_STEPS):
            gradient = self.z.mT @ (p - self.one_hot) + self.penalties * v
            slope = norm(gradient)
            moving = ~(slope <= tolerance)  # so that NaN is no solution
            if not moving.any():
                return v, p
            accuracy = (slope * slope.sqrt().clamp(1e-3, 0.1)).clamp_min(0.1 * tolerance)
            step = -self.newton(p, gradient, torch.where(moving, accuracy, torch.inf))
            worse = moving
            while worse.any():  # halve the steps that lead up
                ahead, p = self._objective(v + step)
                worse = ahead > value + 1e-12 * value
                step = torch.where(worse, step / 2, step)
            v, value = v + step, ahead
        raise InputError(
            f"{self.owner}: with {self.penalty:g}, {int(moving.sum())} of {len(v)} fits "
            f"have not converged in {NEWTON_STEPS} steps; raise it"
        )

    def _objective(self, v: Tensor) -> tuple[Tensor, Tensor]:
        logarithms = (self.z @ v).log_softmax(2)
        fit = -(self.one_hot * logarithms).sum((1, 2), keepdim=True)
        cost = (self.penalties * v.square()).sum((1, 2), keepdim=True) / 2
        return fit + cost, logarithms.exp()

    def newton(self, p: Tensor, right: Tensor, tolerance: Tensor) -> Tensor:
        """H⁻¹ of ``[E, m + 1, k]``, H being the Hessian where the probabilities are p.

        By conjugate gradients, preconditioned by the diagonal of H; ``tolerance``: norm of what
        remains.
        """

        def hessian(v: Tensor) -> Tensor:
            weighted = p * (self.z @ v)
            moved = weighted - p * weighted.sum(2, keepdim=True)
            return self.z.mT @ moved + self.penalties * v

        diagonal = self.z.square().mT @ (p * (1 - p)) + self.penalties
        return _conjugate_gradient(hessian, right, diagonal.clamp_min(TINY), tolerance)


def _conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    diagonal: Tensor,
    tolerance: Tensor,
) -> Tensor:
    found, rest = torch.zeros_like(right), right
    direction = rest / diagonal
    along = (rest * direction).sum((1, 2), keepdim=True)
    for _ in range(CONJUGATE_STEPS):
        moving = norm(rest) > tolerance
        if not moving.any():
            break
        image = product(direction)
        curvature = (direction * image).sum((1, 2), keepdim=True)
        length = torch.where(moving, along / curvature.clamp_min(TINY), 0)
        found = found + length * direction
        rest = rest - length * image
        scaled = rest / diagonal
        before, along = along, (rest * scaled).sum((1, 2), keepdim=True)
        direction = scaled + along / before.clamp_min(TINY) * direction
    return found


def norm(values: Tensor) -> Tensor:
    """The norm of each ``[m, k]`` of ``[E, m, k]``, as ``[E, 1, 1]``."""
    return values.square().sum((1, 2), keepdim=True).sqrt()
