"""Rendering of sprites from their factors.

The three shapes have the same area. Each is rendered around its centre of mass, from the signed
distance of each pixel's centre to its outline. x points to the right, y down; lengths are in units
of the radius of the largest circle that a sprite fits in at scale 1, unless said otherwise.
"""

import math

import torch
from torch import Tensor

RADIUS = 0.2  # of that circle, in image sides
MARGIN = 0.22  # from the border to the nearest centre, in image sides: nothing is cut off
AREA = math.pi / 2  # of each shape
HALF_SIDE = math.sqrt(AREA) / 2  # of the square
MINOR = 0.5  # half axis of the ellipse; the other is 1
# The heart: a square on its corner, of this side, and half a disc on each of its upper sides.
SIDE = math.sqrt(AREA / (1 + math.pi / 4))
# From the middle of that square up to the centre of mass. A half disc's is 4 r / (3 π) from its
# flat side, here r = SIDE / 2.
LIFT = SIDE * (math.pi / 4) / (1 + math.pi / 4) * (0.5 + 2 / (3 * math.pi)) / math.sqrt(2)


def render(values: Tensor, size: int, memory: int = 1 << 16) -> Tensor:
    """Render sprites, white on black.

    Args:
        values: float64 ``[n, 5]``: the shape's number, 0 square, 1 ellipse, 2 heart; scale;
            orientation in radians, clockwise; x and y of the centre of mass, 0 … 1.
        size: side of an image in pixels.
        memory: pixels rendered at a time; as many as fit into a processor's cache.

    Returns:
        uint8 ``[n, 1, size, size]``, 255 on 0; the ramp between them is one pixel wide.
    """
    images = torch.empty(len(values), size, size, dtype=torch.uint8)
    for kind, distance in enumerate((_to_square, _to_ellipse, _to_heart)):
        rows = (values[:, 0] == kind).nonzero().squeeze(1)
        for some in rows.split(max(1, memory // size**2)):
            x, y, unit = _coordinates(values[some], size)
            covered = (0.5 - unit * distance(x, y)).clamp(0, 1)
            images[some] = (255 * covered).round().to(torch.uint8)
    return images.unsqueeze(1)


def _coordinates(values: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels' centres in the frame of each sprite, ``[n, size, size]``; its unit in pixels."""
    unit = RADIUS * size * values[:, 1]
    centres = size * (MARGIN + (1 - 2 * MARGIN) * values[:, 3:])
    pixels = torch.arange(size) + 0.5
    away = (pixels - centres.unsqueeze(2)) / unit[:, None, None]  # [n, 2, size]
    # Angles in double precision: their last bit does not reach the pixels.
    cos, sin = values[:, 2].cos()[:, None, None], values[:, 2].sin()[:, None, None]
    across, down = away[:, 0, None, :], away[:, 1, :, None]
    x, y = (cos * across + sin * down).float(), (cos * down - sin * across).float()
    return x, y, unit[:, None, None].float()


def _to_square(x: Tensor, y: Tensor, half: float = HALF_SIDE) -> Tensor:
    right, below = x.abs() - half, y.abs() - half
    outside = torch.hypot(right.clamp(min=0), below.clamp(min=0))
    return outside + torch.maximum(right, below).clamp(max=0)


def _to_ellipse(x: Tensor, y: Tensor) -> Tensor:
    """To first order in the distance: f / |∇f| of f = |(x, y / b)| - 1."""
    height = torch.hypot(x, y / MINOR)
    slope = torch.hypot(x, y / MINOR**2) / height.clamp(min=1e-6)
    return (height - 1) / slope.clamp(min=1)  # the slope is 1 … 1 / b, but 0 / 0 in the middle


def _to_heart(x: Tensor, y: Tensor) -> Tensor:
    y = y - LIFT
    along, across = (x + y) / math.sqrt(2), (y - x) / math.sqrt(2)
    square = _to_square(along, across, SIDE / 2)
    right = torch.hypot(along, across + SIDE / 2)
    left = torch.hypot(along + SIDE / 2, across)
    return torch.minimum(square, torch.minimum(left, right) - SIDE / 2)
