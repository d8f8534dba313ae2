"""Many images in one figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sheet_figure(images: Tensor, columns: int = 10) -> "Figure":
    """A figure of images ``[n, C, H, W]`` in [0, 1], row by row; what is left of the last is grey.

    A row's label is the number of its first image, counted from 1.
    """
    columns = min(columns, len(images))
    missing = -len(images) % columns
    images = torch.cat([images, images.new_full((missing, *images.shape[1:]), 0.5)])
    rows = images.unflatten(0, (-1, columns))
    starts = [str(1 + i * columns) for i in range(len(rows))]
    return labelled_rows(rows, starts, [""] * columns)


def labelled_rows(
    images: Tensor, row_labels: Sequence[str], column_labels: Sequence[str]
) -> "Figure":
    """A figure of images ``[rows, columns, C, H, W]`` with a label for each row.

    Values outside [0, 1], which a Gaussian decoder may have, are drawn as the nearest inside.
    """
    from matplotlib.figure import Figure

    rows, columns, channels, height, width = images.shape
    sheet = images.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    figure = Figure(figsize=(1.4 + 0.6 * columns, 0.4 + 0.6 * rows), layout="tight")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1).clamp(0, 1).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_yticks([height * (i + 0.5) for i in range(rows)], row_labels)
    axes.set_xticks([width * (i + 0.5) for i in range(columns)], column_labels)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def spaced(images: Tensor, n: int) -> Tensor:
    """At most n of the images, evenly spaced: a few of most classes."""
    rows = torch.linspace(0, len(images) - 1, min(n, len(images)), device=images.device)
    return images[rows.long()]
