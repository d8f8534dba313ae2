"""The image distortion model: the cost of deforming one image into another, pixel by pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Direction = Literal["both", "query", "support"]

FAR = 1e30
"""Cost of a displacement that leaves the image."""

MATCH_BYTES = {"cpu": 2**25, "cuda": 2**28}
"""Bytes of the least costs that are kept at a time, and of the patches that they come from."""

VOLUME_BYTES = {"cpu": 2**21, "cuda": 2**27}
"""Bytes of costs computed at a time: on a CPU they should stay in a core's cache."""


def image_features(images: Tensor, gradients: float) -> Tensor:
    """The features compared at a pixel: the image, and its horizontal and vertical derivatives.

    Args:
        images: float ``[B, C, H, W]``.
        gradients: factor of the derivatives (Sobel's, in units of intensity per pixel); 0: none.

    Returns:
        ``[B, 3 C, H, W]``, or without derivatives ``[B, C, H, W]``.
    """
    if gradients == 0:
        return images
    smooth, step = images.new_tensor([1, 2, 1]) / 4, images.new_tensor([-1, 0, 1]) / 2
    across = gradients * smooth.view(3, 1) * step
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1).unsqueeze(1)
    slopes = F.conv2d(padded, torch.stack([across, across.T]).unsqueeze(1))
    return torch.cat([images, slopes.view(len(images), -1, *images.shape[2:])], 1)


def deformation_costs(
    query: Tensor,
    support: Tensor,
    *,
    window: int = 2,
    context: int = 3,
    stiffness: float = 0.0,
    direction: Direction = "both",
) -> Tensor:
    """Cost of deforming every support image of an episode into every query, and back.

    Source: Keysers, Deselaers, Gollan & Ney (2007), "Deformation models for image recognition",
    IEEE TPAMI 29(8): the image distortion model with local context. Each pixel is explained by the
    pixel of the other image, at most ``window`` pixels away along each axis, whose surroundings
    differ least from its own. The difference is the squared one, summed over channels and averaged
    over ``context`` × ``context`` pixels; beyond its border an image continues as the border's
    nearest pixel. ``stiffness`` adds a cost of the displacement itself.

    All pairs at once: |q - s|² = |q|² - 2 q s + |s|² is, for each pixel and displacement, a
    product of matrices that hold the surroundings. Both directions read the same products. Memory
    is bounded by :data:`MATCH_BYTES` and :data:`VOLUME_BYTES`.

    Args:
        query: features ``[E, q, F, H, W]``.
        support: features ``[E, s, F, H, W]``.
        window: largest displacement in pixels, >= 0.
        context: side of the surroundings in pixels, odd.
        stiffness: cost of a displacement by one pixel, >= 0; it grows with the squared distance.
        direction: ``query``: every pixel of the query is explained by the support; ``support``:
            the reverse; ``both``: the mean of the two.

    Returns:
        Mean costs of the pixels, ``[E, q, s]``.
    """
    n_episodes, n_support, channels, height, width = support.shape
    pixels = (height + window) * (width + window)
    sides = 2 if direction == "both" else 1
    kept = pixels * (sides * n_support + channels * context**2 + 4) * query.element_size()
    images = max(1, MATCH_BYTES[query.device.type] // kept)  # queries at a time
    n_query = query.shape[1]
    costs = query.new_empty(n_episodes, n_query, n_support)
    step = max(1, images // n_query)
    grid = stiffness**0.5 * context * _coordinates(height, width, query.device)
    for start in range(0, n_episodes, step):
        some = slice(start, start + step)
        reference = _strip(support[some].permute(0, 3, 4, 2, 1), context, grid, window)
        reference = _against(reference, window * (width + window) + window)
        shape = (len(support[some]), height, width, window)
        for first in range(0, n_query, images):
            part = slice(first, first + images)
            compared = _strip(query[some, part].permute(0, 3, 4, 2, 1), context, grid, window)
            least = _least_costs(compared, reference, shape, direction)
            costs[some, part] = least / context**2
    return costs


@dataclass(frozen=True)
class Explanation:
    """Queries as deformed support images.

    Attributes:
        displacement: from a pixel of the query to the one of the support that explains it, rows
            then columns, in pixels, ``[B, H, W, 2]``; of equally good ones the shortest.
        deformed: the support image, deformed into the query, ``[B, C, H, W]``.
        residual: the query less that, ``[B, C, H, W]``.
        cost: of each pixel, ``[B, H, W]``.
    """

    displacement: Tensor
    deformed: Tensor
    residual: Tensor
    cost: Tensor

    def chosen(self, rows: Tensor) -> "Explanation":
        """Some of the pairs, by their numbers."""
        return Explanation(**{name: value[rows] for name, value in vars(self).items()})


def explanation(
    query: Tensor,
    support: Tensor,
    *,
    gradients: float = 2.0,
    window: int = 2,
    context: int = 3,
    stiffness: float = 0.0,
) -> Explanation:
    """Each query explained by the support image beside it; see :func:`deformation_costs`.

    Args:
        query: images ``[B, C, H, W]``.
        support: images ``[B, C, H, W]``.
        gradients: factor of the derivatives; see :func:`image_features`.
        window: largest displacement in pixels.
        context: side of the surroundings in pixels.
        stiffness: cost of a displacement by one pixel.
    """
    ours, theirs = (
        torch.cat(_surroundings(image_features(x, gradients).permute(0, 2, 3, 1), context), 3)
        for x in (query, support)
    )
    height, width = query.shape[2:]
    side = torch.arange(-window, window + 1)
    moves = torch.cartesian_prod(side, side)
    moves = moves[moves.square().sum(1).argsort(stable=True)].to(query.device)
    costs = ours.new_full((len(moves), *ours.shape[:3]), torch.inf)
    for i, (down, right) in enumerate(moves.tolist()):
        rows = slice(max(0, -down), height - max(0, down))
        columns = slice(max(0, -right), width - max(0, right))
        there = theirs.roll((-down, -right), (1, 2))
        difference = (ours - there)[:, rows, columns].square().sum(3) / context**2
        costs[i, :, rows, columns] = difference + stiffness * (down**2 + right**2)
    # The first of those that equal the least but for rounding.
    near = costs <= costs.amin(0) + 1e-6
    chosen = near.byte().argmax(0)
    displacement = moves[chosen]
    row = torch.arange(height, device=query.device)[:, None] + displacement[..., 0]
    column = torch.arange(width, device=query.device) + displacement[..., 1]
    places = (row * width + column).flatten(1).unsqueeze(1).expand(-1, query.shape[1], -1)
    deformed = support.flatten(2).gather(2, places).view(query.shape)
    return Explanation(displacement, deformed, query - deformed, costs.amin(0))


def _surroundings(images: Tensor, context: int) -> list[Tensor]:
    """Images ``[E, H, W, …]`` moved so that each pixel of the surroundings lies at the centre."""
    reach, (height, width) = context // 2, images.shape[1:3]
    rows, columns = (
        torch.arange(-reach, n + reach, device=images.device).clamp(0, n - 1)
        for n in (height, width)
    )
    padded = images[:, rows][:, :, columns]
    return [padded[:, y : y + height, x : x + width] for y, x in np.ndindex(context, context)]


def _coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of each pixel, from the centre, ``[H, W, 2]``."""
    sides = [torch.arange(n, device=device) - (n - 1) / 2 for n in (height, width)]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), 2)


def _strip(images: Tensor, context: int, grid: Tensor, window: int) -> Tensor:
    """The matrices of the pixels of all images, ``[E (H + window) (W + window), K + 2, n]``.

    A column holds an image's surroundings and coordinates, then their squared length, then 1. After
    each row and each image comes a margin that is FAR from everything, so that a displacement is
    one shift along the strip, and what it shifts across a border is never the least.

    Args:
        images: features ``[E, H, W, F, n]``.
        context: side of the surroundings.
        grid: coordinates, whose squared differences are the costs of displacements.
        window: width of the margins.
    """
    e, height, width, channels, n = images.shape
    k = channels * context**2 + 2
    strip = images.new_empty(e, height + window, width + window, k + 2, n)
    for margin in (strip[:, height:], strip[:, :height, width:]):
        margin.zero_()
        margin[..., k, :] = FAR
    strip[..., k + 1, :] = 1
    inner = strip[:, :height, :width]
    for i, moved in enumerate(_surroundings(images, context)):
        inner[..., i * channels : (i + 1) * channels, :] = moved
    inner[..., k - 2 : k, :] = grid.unsqueeze(3)
    squares = _surroundings(images.square().sum(3), context)
    inner[..., k, :] = sum(squares, grid.square().sum(2).unsqueeze(2))
    return strip.flatten(0, 2)


def _against(strip: Tensor, margin: int) -> Tensor:
    """The strip ``[…, n, K + 2]`` whose products with another one are squared differences.

    It has a margin more at either end.
    """
    *_, length, one = range(strip.shape[1])
    pixels = slice(margin, margin + len(strip))
    other = strip.new_zeros(len(strip) + 2 * margin, strip.shape[2], strip.shape[1])
    torch.mul(strip.transpose(1, 2), -2, out=other[pixels])
    other[..., length], other[..., one] = 1, FAR
    other[pixels, :, one] = strip[:, length]
    return other


def _least_costs(
    query: Tensor, support: Tensor, shape: tuple[int, int, int, int], direction: Direction
) -> Tensor:
    """Mean over pixels of their least costs, ``[E, q, s]``, from the strips of both sides."""
    e, height, width, window = shape
    n_query, n_support = query.shape[2], support.shape[1]
    margin = window * (width + window) + window
    of_query = query.new_empty(len(query), n_support * n_query)
    of_support = query.new_full((len(support), n_support * n_query), 2 * FAR)
    for start, place, by_query, by_support in _volumes(query, support, width + window, window):
        if direction != "support":
            least = of_query[start : start + len(by_query)]
            if place == start:  # the first row of displacements
                torch.amin(by_query, 1, out=least)
            else:
                torch.minimum(least, by_query.amin(1), out=least)
        if direction != "query":
            least = of_support[place : place + len(by_support)]
            torch.minimum(least, by_support.amin(1), out=least)
    found = {"query": of_query, "support": of_support[margin : margin + len(query)]}
    chosen = found.values() if direction == "both" else [found[direction]]
    means = [
        least.view(e, height + window, width + window, n_support, n_query)[:, :height, :width]
        .clamp(min=0)
        .mean((1, 2))
        for least in chosen
    ]
    return torch.stack(means).mean(0).transpose(1, 2)


def _volumes(
    query: Tensor, support: Tensor, row: int, window: int
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Costs of some pixels of the query at the displacements along one row of the support.

    Yields:
        The first pixel of the query, the first one of the support, and two views of the costs,
        which are overwritten: ``[pixels, 2 window + 1, s * q]`` by pixels of the query and of the
        support. Pairs of pixels of the latter that were not computed are FAR.
    """
    (length, k, n_query), n_support = query.shape, support.shape[1]
    across = 2 * window + 1
    size = across * n_support * n_query  # of a pixel's costs
    step = max(1, min(length, VOLUME_BYTES[query.device.type] // (4 * size)))
    volume = query.new_full((step + 4 * window, across, n_support * n_query), 2 * FAR)
    for start in range(0, length, step):
        part = query[start : start + step]
        costs = volume[2 * window : 2 * window + len(part)]
        if len(part) < step:
            volume[2 * window + len(part) :] = 2 * FAR
        # A pixel of the support is the last displacement of one pixel of the query, the last but
        # one of the next …
        by_support = volume.as_strided(
            (len(part) + 2 * window, across, n_support * n_query),
            (size, size - n_support * n_query, 1),
            2 * window * n_support * n_query,
        )
        for down in range(across):
            place = start + down * row
            # Neighbours lie side by side in the strip: the matrices of a pixel's displacements are
            # overlapping views of it.
            nearby = support.as_strided(
                (len(part), across * n_support, k), (n_support * k, k, 1), place * n_support * k
            )
            torch.bmm(nearby, part, out=costs.view(len(part), -1, n_query))
            yield start, place, costs, by_support
