"""A contact sheet of augmented training images."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.augment import Augmentation
from guided.figures.grids import labelled_rows
from guided.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def augmentation_figure(augmentation: Augmentation, image: Tensor, columns: int = 9) -> "Figure":
    """An image and draws of each of its deformations alone; in the last row, of all together.

    Args:
        augmentation: with at least one deformation.
        image: uint8 or float in [0, 1], ``[C, H, W]``.
        columns: draws in a row.
    """
    drawn = {
        field.name: getattr(augmentation, field.name)
        for field in fields(augmentation)
        if field.name not in ("views", "strength")
        and getattr(augmentation, field.name) != field.default
    }
    shown = image.float() / 255 if image.dtype == torch.uint8 else image
    copies = shown.expand(columns, *shown.shape)
    strength = augmentation.strength
    rows = [
        replace(Augmentation(**{name: limit}), strength=strength) for name, limit in drawn.items()
    ]
    rows.append(replace(augmentation, views=1))
    deformed = [
        row(copies, generator(number, "contact sheet", device=image.device))
        for number, row in enumerate(rows)
    ]
    sheet = torch.stack([torch.cat([shown[None], views]) for views in deformed])
    limits = drawn | ({"learned": strength} if augmentation.learned else {})
    labels = [f"{name} {limit:g}" for name, limit in limits.items()]
    return labelled_rows(sheet.clamp(0, 1), [*labels, "all"], ["image", *[""] * columns])
