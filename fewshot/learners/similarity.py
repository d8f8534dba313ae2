"""How alike two embeddings are, for the learners that compare."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import check_positive

Metric = Literal["squared_euclidean", "cosine"]


def similarity(query: Tensor, reference: Tensor, metric: Metric) -> Tensor:
    """Scores of every query against every reference, larger is closer.

    Args:
        query: ``[E, q, d]``.
        reference: ``[E, r, d]``.
        metric: ``squared_euclidean``: minus the squared distance, up to the query's own squared
            norm, which no comparison depends on; ``cosine``: the cosine, in [-1, 1].

    Returns:
        ``[E, q, r]``.
    """
    if metric == "cosine":
        return F.normalize(query, dim=2) @ F.normalize(reference, dim=2).transpose(1, 2)
    norms = reference.square().sum(2).unsqueeze(1)
    return torch.baddbmm(norms, query, reference.transpose(1, 2), beta=-1, alpha=2)


class Temperature(nn.Module):
    """Divides scores by a temperature, fixed or learned: latents have an arbitrary scale.

    One temperature for all scores leaves their order, so where they are the logits it changes
    meta-training alone.

    Args:
        temperature: > 0, where learning starts.
        learned: a parameter, as its logarithm: it stays above zero.
        owner: the learner, for the message when the temperature is impossible.
    """

    def __init__(self, temperature: float, *, learned: bool, owner: str) -> None:
        super().__init__()
        check_positive(owner, temperature=temperature)
        self.fixed = temperature
        self.log = nn.Parameter(torch.tensor(math.log(temperature))) if learned else None

    def forward(self, scores: Tensor) -> Tensor:
        return scores / (self.fixed if self.log is None else self.log.exp())
