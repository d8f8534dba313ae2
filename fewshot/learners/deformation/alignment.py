"""Drawings brought to the same place and size, each image for itself."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from guided.affine import single, warp

Alignment = Literal["none", "position", "scale", "rotation"]

LARGEST = 2.0
"""Largest factor by which ink is enlarged or reduced."""


def reduced(images: Tensor, size: int) -> Tensor:
    """Images ``[B, C, H, W]`` as float32 in [0, 1], the longer side at most ``size`` pixels."""
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    shape = reduced_shape(images.shape[2], images.shape[3], size)
    return pixels if shape == images.shape[2:] else F.interpolate(pixels, shape, mode="area")


def reduced_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of :func:`reduced` images."""
    factor = min(1, size / max(height, width))
    return max(1, round(factor * height)), max(1, round(factor * width))


def ink(images: Tensor) -> Tensor:
    """The difference to the background, signed, ``[B, C, H, W]``.

    The background is the median of the border's pixels, in each channel: ink may be brighter or
    darker, as long as it touches less than half of the border.
    """
    sides = (images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1])
    background = torch.cat(sides, 2).median(2).values
    return images - background[..., None, None]


def aligned(images: Tensor, spread: float | None, stretch: float = 0.0) -> Tensor:
    """Images under the maps of :func:`alignments`, bilinear, 0 outside."""
    return warp(images, alignments(images, spread, stretch))


def alignments(images: Tensor, spread: float | None, stretch: float = 0.0) -> Tensor:
    """The maps that move ink so that its centre is the image's, and bring it to one size.

    Along each axis a factor and a shift, from output to input coordinates, ``[B, 2, 3]``.

    Args:
        images: :func:`ink`, ``[B, C, H, W]``.
        spread: the standard deviation of ink that a change of scale leads to, the root mean square
            over both axes, in half image widths; None: the scale stays.
        stretch: how far the two axes are brought to the same standard deviation: the exponent of
            what theirs are to the root mean square; 0: proportions stay, 1: they become equal.
    """
    mass = images.abs().mean(1)
    mass = mass / mass.sum((1, 2), keepdim=True).clamp(min=1e-6)
    centres, variances = [], []
    for along in (mass.sum(1), mass.sum(2)):
        n = along.shape[1]
        place = (2 * torch.arange(n, device=images.device) + 1 - n) / n  # as in guided.affine
        centres.append((along * place).sum(1))
        variances.append((along * (place - centres[-1][:, None]) ** 2).sum(1))
    factors = [torch.ones_like(centres[0])] * 2
    if spread is not None:
        size = torch.stack(variances).mean(0).sqrt().clamp(min=1e-6)
        factors = [
            (size / spread * (variance.sqrt() / size) ** stretch).clamp(1 / LARGEST, LARGEST)
            for variance in variances
        ]
    none = torch.zeros_like(centres[0])
    rows = [factors[0], none, centres[0], none, factors[1], centres[1]]
    return torch.stack(rows, 1).view(-1, 2, 3)


def turned(images: Tensor, degrees: float) -> Tensor:
    """Images ``[B, C, H, W]`` turned counter-clockwise about their centre."""
    angle = torch.full((1,), math.radians(degrees), device=images.device)
    return warp(images, single("rotation", angle))


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images ``[B, C, H, W]`` under a Gaussian of ``sigma`` pixels; 0: as they are."""
    if sigma == 0:
        return images
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-((offsets / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    flat = F.pad(images.flatten(0, 1).unsqueeze(1), (reach,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return flat.view(images.shape)
