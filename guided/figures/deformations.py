"""The principal deformations of a model, applied to a few images."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.affine import warp
from guided.deformations import Deformations
from guided.figures.grids import labelled_rows
from guided.free_form import shifts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Standard deviations by which a deformation is shown."""


def deformations_figure(deformations: Deformations, images: Tensor, n: int = 5) -> "Figure":
    """Images deformed along each of the first principal deformations, a row for each of these.

    Args:
        deformations: the model.
        images: a few, uint8 or float in [0, 1], ``[k, C, H, W]``.
        n: number of principal deformations.
    """
    shown = (images.float() / 255 if images.dtype == torch.uint8 else images).cpu()
    directions, shares = deformations.principal(n)
    amounts = torch.tensor(STEPS)
    coefficients = amounts[None, :, None] * directions.cpu()[:, None]  # [n, steps, 32]
    moved = shifts(coefficients.flatten(0, 1), *shown.shape[2:])
    identity = torch.eye(2, 3).unsqueeze(0)
    rows = [warp(image.expand(len(moved), -1, -1, -1), identity, moved) for image in shown]
    sheet = torch.cat([row.unflatten(0, (len(directions), -1)) for row in rows], 1)
    labels = [f"{number}: {100 * float(share):.0f} %" for number, share in enumerate(shares, 1)]
    columns = [f"{step:+g} sd" if step else "image" for step in STEPS] * len(shown)
    return labelled_rows(sheet.clamp(0, 1), labels, columns)
