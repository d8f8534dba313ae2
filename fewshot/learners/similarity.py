"""Similarity of embeddings, for the learners that compare them."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.ranges import Checked, Positive
from guided.vae import precise

Metric = Literal["squared_euclidean", "cosine"]


def similarity(query: Tensor, reference: Tensor, metric: Metric) -> Tensor:
    """Similarity of every query to every reference; larger is closer.

    Args:
        query: ``[E, q, d]``.
        reference: ``[E, r, d]``.
        metric: ``squared_euclidean``: minus the squared distance, plus the query's to the mean
            reference, the same for all references. ``cosine``: the cosine, in [-1, 1].

    Returns:
        ``[E, q, r]``.
    """
    # Single precision also inside autocast: bfloat16 would round a distance of 128 to a whole nat.
    with torch.autocast(query.device.type, enabled=False):
        return _similarity(precise(query), precise(reference), metric)


def _similarity(query: Tensor, reference: Tensor, metric: Metric) -> Tensor:
    if metric == "cosine":
        return F.normalize(query, dim=2) @ F.normalize(reference, dim=2).transpose(1, 2)
    # |q - c|² - |q - r|² = 2 q (r - c) - (r - c)(r + c), where c is the mean reference. With c = 0
    # the square of an offset that all embeddings share would drown the distances.
    centre = reference.detach().mean(1, keepdim=True)
    apart = reference - centre
    own = torch.linalg.vecdot(apart, reference + centre).unsqueeze(1)
    return torch.baddbmm(own, query, apart.transpose(1, 2), beta=-1, alpha=2)


class Temperature(Checked, nn.Module):
    """Divides scores by a fixed or learned temperature, because latents have an arbitrary scale.

    Args:
        temperature: the temperature, or the initial one if it is learned; > 0.
        learned: make it a parameter: its logarithm, so that it stays above zero.

    Raises:
        InputError: the temperature is not above zero.
    """

    def __init__(self, temperature: Positive, *, learned: bool) -> None:
        super().__init__()
        self.fixed = temperature
        self.log = nn.Parameter(torch.tensor(math.log(temperature))) if learned else None

    def forward(self, scores: Tensor) -> Tensor:
        """Scores of any shape ``[…]``, divided by the temperature."""
        return scores / (self.fixed if self.log is None else self.log.exp())
