"""Pictures of queries that are explained by deformed support images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fewshot.learners.deformation.distortion import Explanation
from guided.figures import labelled_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = ["query", "support", "deformed", "left over"]


def explanation_figure(support: Tensor, found: Explanation, labels: Sequence[str]) -> "Figure":
    """Queries above the support, the support deformed into them, and what is left over.

    What is left over is grey where nothing is.

    Args:
        support: the support images that ``found`` deforms, ``[n, C, H, W]``, n >= 1.
        found: the explanations.
        labels: one a query.
    """
    images = torch.stack([found.deformed + found.residual, support, found.deformed])
    if images.mean() < 0:  # ink that is darker than its background, which is 0
        images = images + 1
    left_over = 0.5 + found.residual / 2
    return labelled_rows(torch.cat([images, left_over.unsqueeze(0)]), ROWS, labels)
