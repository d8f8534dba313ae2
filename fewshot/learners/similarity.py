"""How alike two embeddings are, for the learners that compare."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

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
