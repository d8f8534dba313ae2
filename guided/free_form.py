"""Smooth deformations of images by a grid of control points.

Source: Sederberg & Parry (1986), "Free-form deformation of solid geometric models", SIGGRAPH: the
shift of a place is a weighted mean of the shifts of 4 × 4 control points, with cubic Bernstein
polynomials of its coordinates as weights. Affine maps are among these deformations, exactly.

A deformation is a vector of :data:`N_COEFFICIENTS` numbers, in half image widths: the shifts along
x of the control points, row by row, then those along y. As in :mod:`guided.affine` it is that of
the map from OUTPUT to INPUT coordinates, less the identity.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

CONTROLS = 4
"""Control points along each side."""

N_COEFFICIENTS = 2 * CONTROLS**2

GRID = 28
"""Pixels along each side of an image, where a deformation is measured that has none."""


def places(height: int, width: int) -> Tensor:
    """Coordinates x and y of the pixels, from -1 to 1 over the image, ``[H, W, 2]``."""
    grid = F.affine_grid(torch.eye(2, 3).unsqueeze(0), [1, 1, height, width], align_corners=False)
    return grid[0]


def weights(at: Tensor) -> Tensor:
    """Weights of the control points at places, ``[…, 16]``; they sum to 1.

    Args:
        at: coordinates x and y, ``[…, 2]``.
    """
    t = (at.unsqueeze(-1) + 1) / 2
    cubic = torch.cat([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], -1)
    return (cubic[..., 1, :, None] * cubic[..., 0, None, :]).flatten(-2)


def shifts(coefficients: Tensor, height: int, width: int) -> Tensor:
    """Shifts of the pixels' input coordinates, ``[B, H, W, 2]``, for :func:`guided.affine.warp`.

    Args:
        coefficients: ``[B, N_COEFFICIENTS]``.
        height, width: of the images.
    """
    grid = weights(places(height, width)).to(coefficients)
    control = coefficients.unflatten(1, (2, -1))
    return torch.einsum("hwk,bdk->bhwd", grid, control)


def coefficients_of(moved: Tensor) -> Tensor:
    """The deformations nearest to shifts ``[B, H, W, 2]`` in mean square, ``[B, N_COEFFICIENTS]``.

    Exact for shifts of :func:`shifts`, of affine maps among them; H and W are at least 4.
    """
    inverse = _inverse(*moved.shape[1:3]).to(moved)
    return torch.einsum("kp,bpd->bdk", inverse, moved.flatten(1, 2)).flatten(1)


def coefficients_of_affine(matrix: Tensor) -> Tensor:
    """The deformations that are affine maps ``[B, 2, 3]``, ``[B, N_COEFFICIENTS]``."""
    grid = F.affine_grid(matrix, [len(matrix), 1, CONTROLS, CONTROLS], align_corners=False)
    return coefficients_of(grid - places(CONTROLS, CONTROLS).to(grid))


@cache
def slopes() -> Tensor:
    """From shifts of control points to the mean slopes of shifts along x and y, ``[2, 16]``.

    Those of the affine map that is nearest over the image.
    """
    at = places(GRID, GRID).double().flatten(0, 1)
    nearest = torch.linalg.pinv(torch.cat([torch.ones(len(at), 1), at], 1)) @ weights(at)
    return nearest[1:].float()


@cache
def _inverse(height: int, width: int) -> Tensor:
    """From shifts of pixels to those of control points, ``[16, H W]``."""
    grid = weights(places(height, width).double()).flatten(0, 1)
    return torch.linalg.pinv(grid).float()
