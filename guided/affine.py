"""The affine map of images: names, signs and units for everything that deforms.

Amounts are those of the map from OUTPUT to INPUT coordinates, as in
:func:`torch.nn.functional.affine_grid`; coordinates run from -1 to 1 over the image.

=================  =============================  ==============================================
name               unit                           a positive amount makes the image
=================  =============================  ==============================================
``rotation``       radians                        turn counter-clockwise
``scale``          log of a factor                smaller
``shear``          slope, dx / dy                 lean
``translation_x``  half image widths              move left
``translation_y``  half image heights             move up
=================  =============================  ==============================================
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

AffineName = Literal["rotation", "scale", "shear", "translation_x", "translation_y"]
AFFINE: tuple[AffineName, ...] = get_args(AffineName)

UNITS: dict[str, float] = {
    "rotation": 0.5,
    "scale": 0.2,
    "shear": 0.3,
    "translation_x": 0.15,
    "translation_y": 0.15,
}
"""The amount that one unit of a deformation latent stands for when training starts."""


def affine(
    *,
    rotation: Tensor,
    scale: Tensor,
    shear: Tensor,
    translation_x: Tensor,
    translation_y: Tensor,
) -> Tensor:
    """The matrices ``[B, 2, 3]`` of a batch of maps: rotation after shear after scale.

    Args:
        rotation: ``[B]``.
        scale: ``[B]``, or ``[B, 2]`` for each axis its own.
        shear: ``[B]``.
        translation_x: ``[B]``.
        translation_y: ``[B]``.
    """
    size = scale.exp()
    cos, sin = rotation.cos(), rotation.sin()
    if scale.ndim == 1:
        cos, sin = cos * size, sin * size
    one, zero = torch.ones_like(cos), 0 * cos
    rotate = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    slant = torch.stack([one, shear, zero, one], 1).view(-1, 2, 2)
    linear = rotate @ slant
    if scale.ndim == 2:
        linear = linear * size.unsqueeze(1)
    return torch.cat([linear, torch.stack([translation_x, translation_y], 1).unsqueeze(2)], 2)


def single(name: AffineName, amount: Tensor) -> Tensor:
    """The matrices ``[B, 2, 3]`` of one kind of deformation by the amounts ``[B]``."""
    none = torch.zeros_like(amount)
    return affine(**{**dict.fromkeys(AFFINE, none), name: amount})


def as_seen(name: AffineName, amount: Tensor) -> Tensor:
    """An amount of the map from the amount of what is seen to happen to the image, or back.

    Seen, a positive ``scale`` enlarges, and a positive translation moves right or down; rotation
    and shear are the same.
    """
    return amount if name in ("rotation", "shear") else -amount


def warp(images: Tensor, matrix: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Images under affine maps, bilinear, 0 outside.

    Args:
        images: float ``[B, C, H, W]``.
        matrix: output to input coordinates, ``[B, 2, 3]``; or ``[1, 2, 3]`` for all images.
        shifts: of each output pixel's input coordinates, ``[B or 1, H, W, 2]``.
    """
    grid = F.affine_grid(matrix, [len(matrix), *images.shape[1:]], align_corners=False)
    if shifts is not None:
        grid = grid + shifts
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)
