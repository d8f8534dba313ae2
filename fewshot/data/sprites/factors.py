"""The factors of sprites, and the classes that are made of them.

Source: Matthey, Higgins, Hassabis & Lerchner (2017), dSprites.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.seeds import generator

FACTORS = ("shape", "scale", "orientation", "position_x", "position_y")
SHAPES = ("square", "ellipse", "heart")
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LEVELS = (len(SHAPES), len(SCALES), 40, 32, 32)
N_SPRITES = math.prod(LEVELS)  # 737,280

PERIODS = (90, 180, 360)  # degrees of a turn after which a shape looks the same
DIRECTION = 45  # degrees of orientation that a class spans
DIRECTIONS = tuple(period // DIRECTION for period in PERIODS)
CLASS_NAMES = tuple(
    f"{shape}/scale{scale}/from{DIRECTION * k:03}"
    for shape, n_directions in zip(SHAPES, DIRECTIONS, strict=True)
    for scale in SCALES
    for k in range(n_directions)
)
N_CLASSES = len(CLASS_NAMES)  # 84


@dataclass(frozen=True)
class SpriteFactors:
    """Factors of some sprites.

    Attributes:
        levels: int64 ``[N, 5]``, the position of each factor among its values, from 0.
        values: float64 ``[N, 5]``: the shape's number; scale, 0.5 … 1; orientation in radians,
            0 … 2π; position, 0 … 1.
    """

    levels: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.levels)

    def rows(self, index: Tensor) -> "SpriteFactors":
        """Those of some sprites.

        Args:
            index: int64 ``[n]``.
        """
        return SpriteFactors(self.levels[index], self.values[index])

    def classes(self) -> Tensor:
        """int64 ``[N]``, indices into ``CLASS_NAMES``: shape, scale, and direction to 45°.

        A square looks the same after a quarter of a turn and an ellipse after half, so that they
        have two and four directions; a heart has eight.
        """
        shape, scale = self.levels[:, 0], self.levels[:, 1]
        # Rounded, because a full turn in radians may be a little less in degrees.
        degrees = self.values[:, 2].rad2deg().round(decimals=6)
        direction = (degrees % torch.tensor(PERIODS)[shape] / DIRECTION).floor().long()
        n_directions = torch.tensor(DIRECTIONS)
        before = len(SCALES) * (n_directions.cumsum(0) - n_directions)
        return before[shape] + n_directions[shape] * scale + direction


def grid_factors() -> SpriteFactors:
    """All combinations, in the order of dSprites; the 40 orientations are 9° apart.

    Differs from dSprites: there they are 360/39° apart, so that the first and the last look alike.
    """
    return sprite_factors(torch.stack(torch.unravel_index(torch.arange(N_SPRITES), LEVELS), 1))


def sprite_factors(levels: Tensor) -> SpriteFactors:
    """The sprites of these levels, int64 ``[N, 5]``, with the values of :func:`grid_factors`."""
    values = levels.double()
    values[:, 1] = torch.tensor(SCALES, dtype=torch.float64)[levels[:, 1]]
    values[:, 2] *= 2 * math.pi / LEVELS[2]
    values[:, 3:] /= torch.tensor(LEVELS[3:]) - 1
    return SpriteFactors(levels, values)


def class_parts(seed: int) -> Tensor:
    """The split of each class, int64 ``[84]``: 0 training, 1 validation, 2 test.

    A quarter of each shape's classes, drawn by the seed, are for testing, a sixth for validation.
    """
    chance = generator(seed, "sprites", "classes")
    parts = []
    for n_directions in DIRECTIONS:
        n = len(SCALES) * n_directions
        part = torch.zeros(n, dtype=torch.int64)
        order = torch.randperm(n, generator=chance)
        part[order[: n // 4]] = 2
        part[order[n // 4 : n // 4 + n // 6]] = 1
        parts.append(part)
    return torch.cat(parts)
