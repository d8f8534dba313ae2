"""Grids of images as figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sheet_figure(images: Tensor, columns: int = 10) -> "Figure":
    """A contact sheet of images, row by row; the rest of the last row is grey.

    A row's label is the number of its first image, counted from 1.

    Args:
        images: in [0, 1], ``[n, C, H, W]``.
        columns: images in a row.
    """
    columns = min(columns, len(images))
    missing = -len(images) % columns
    images = torch.cat([images, images.new_full((missing, *images.shape[1:]), 0.5)])
    rows = images.unflatten(0, (-1, columns))
    starts = [str(1 + i * columns) for i in range(len(rows))]
    return labelled_rows(rows, starts, [""] * columns)


def labelled_rows(
    images: Tensor,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    corners: Sequence[Sequence[str]] | None = None,
) -> "Figure":
    """A figure of images ``[rows, columns, C, H, W]`` with a label for each row and column.

    Values outside [0, 1], which a Gaussian decoder may have, are drawn as the nearest inside.

    Args:
        images: ``[rows, columns, C, H, W]``.
        row_labels: one a row.
        column_labels: one a column.
        corners: texts for the lower right corners, row by row; a row's belong to its last images.
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
    for row, texts in enumerate(corners or []):
        for column, text in enumerate(texts, start=columns - len(texts)):
            x, y = width * (column + 0.97), height * (row + 0.97)
            axes.text(x, y, text, ha="right", va="bottom", fontsize=5, color="tab:orange")
    return figure


def spaced(images: Tensor, n: int) -> Tensor:
    """At most n of the images ``[N, C, H, W]``, evenly spaced: a few of most classes."""
    rows = torch.linspace(0, len(images) - 1, min(n, len(images)), device=images.device)
    return images[rows.long()]
