"""A Gaussian over smooth deformations: drawn from, and measured by, its covariance."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.errors import InputError, reason_of
from guided.free_form import GRID, N_COEFFICIENTS, coefficients_of, places, weights
from guided.storage.checksums import DamageError
from guided.storage.files import read_weights, write_weights

if TYPE_CHECKING:
    from guided.augment import Augmentation

FORMAT = "guided-fewshot deformations 1"

TOLERANCE = 1e-4
"""Largest negative eigenvalue and asymmetry of a covariance, as shares of its largest entry."""

DRAWS = 4096
"""Draws from which the covariance of an augmentation is estimated."""


@dataclass(frozen=True, eq=False)
class Deformations:
    """Deformations c ~ N(0, Σ) of images: any deformation is as likely as its opposite.

    Attributes:
        covariance: Σ of the coefficients of :mod:`guided.free_form`, of images as they are,
            ``[32, 32]``.
        aligned: the same of images that were brought to one place and size before, ``[32, 32]``.

    Raises:
        InputError: a matrix is no covariance of deformations.
    """

    covariance: Tensor
    aligned: Tensor

    def __post_init__(self) -> None:
        for name in ("covariance", "aligned"):
            _check(name, getattr(self, name))

    def principal(self, n: int) -> tuple[Tensor, Tensor]:
        """The n deformations by which pixels move most in mean square, of images as they are.

        Returns:
            Deformations by one standard deviation, ``[n, 32]``, and the shares of the mean squared
            shift that they hold, ``[n]``.
        """
        grid = weights(places(GRID, GRID).double()).flatten(0, 1)
        length = torch.linalg.cholesky(grid.T @ grid / len(grid))  # |Lᵀ c| is a shift's length
        length = torch.block_diag(length, length)
        values, vectors = torch.linalg.eigh(length.T @ self.covariance.cpu().double() @ length)
        values, vectors = values.clamp(min=0).flip(0), vectors.flip(1)
        # An eigenvector's sign is arbitrary; its largest entry is made positive.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        steps = torch.linalg.solve(length.T, vectors * largest * values.sqrt()).T[:n]
        return steps.float(), (values / values.sum().clamp(min=1e-12))[:n].float()

    def save(self, path: Path | str) -> None:
        """Write a safetensors file, atomically."""
        write_weights(path, vars(self), {"format": FORMAT})

    @staticmethod
    def load(path: Path | str) -> "Deformations":
        """Read a file that :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged or no file of deformations.
        """
        from safetensors import SafetensorError

        try:
            tensors, metadata = read_weights(path)
            if metadata.get("format") != FORMAT or set(tensors) != {"covariance", "aligned"}:
                raise InputError(f"is no file of learned deformations ({FORMAT!r})")
            return Deformations(**tensors)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file of learned deformations") from error
        except DamageError:
            raise
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: is no file of learned deformations ({reason_of(error)})"
            ) from error


def root(covariance: Tensor) -> Tensor:
    """R ``[32, 32]`` with Rᵀ R = Σ: rows of standard normal draws times R have the covariance."""
    values, vectors = torch.linalg.eigh(covariance.double())
    return (vectors * values.clamp(min=0).sqrt()).T.float()


def shrunk(deformations: Tensor) -> Tensor:
    """The covariance of deformations around 0, shrunk towards a multiple of the identity.

    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 88(2): the amount is estimated too.

    Args:
        deformations: ``[n, 32]``, n >= 1.
    """
    x = deformations.double()
    n, k = x.shape
    raw = x.T @ x / n
    level = raw.trace() / k
    away = raw - level * torch.eye(k, dtype=x.dtype, device=x.device)
    spread = away.square().sum()
    # The mean squared distance of the single products from their mean.
    noise = (x.square().sum(1).square().mean() - raw.square().sum()) / n
    amount = (noise / spread.clamp(min=1e-30)).clamp(0, 1)
    return (raw - amount * away).float()


def covariance_of(augmentation: "Augmentation") -> Tensor:
    """The covariance around 0 of the deformations that an augmentation draws, ``[32, 32]``.

    Raises:
        InputError: it moves nothing.
    """
    chance = torch.Generator().manual_seed(0)
    moved = augmentation.shifts((GRID, GRID), DRAWS, chance)
    if not bool(moved.any()):
        raise InputError("moves no image; set rotation, scale, shear, translation or elastic")
    drawn = coefficients_of(moved)
    return drawn.T @ drawn / len(drawn)


def _check(name: str, matrix: Tensor) -> None:
    expected = [N_COEFFICIENTS, N_COEFFICIENTS]
    if list(matrix.shape) != expected or matrix.dtype != torch.float32:
        raise InputError(
            f"{name}: expected float32 {expected}, got {matrix.dtype} {list(matrix.shape)}"
        )
    largest = matrix.abs().max()
    if not bool(matrix.isfinite().all()):
        raise InputError(f"{name}: expected finite numbers")
    if bool((matrix - matrix.T).abs().max() > TOLERANCE * largest):
        raise InputError(f"{name}: expected a symmetric matrix")
    if bool(torch.linalg.eigvalsh(matrix.double()).min() < -TOLERANCE * largest):
        raise InputError(f"{name}: expected a covariance, whose eigenvalues are at least 0")
