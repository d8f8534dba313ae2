"""R2-D2: ridge regression whose penalty and calibration are meta-trained."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.ridge import dual_ridge
from guided.encoder import Encoder
from guided.ranges import Positive


class R2D2(Learner):
    """Ridge regression onto one-hot labels with meta-trained penalty λ and logits α Ŷ + β.

    Source: Bertinetto et al. (2019), arXiv:1805.08136, §3.1 and §3.2 (α and β at its end). β
    shifts all classes alike and has no effect through softmax; it is kept as in the paper.

    Differs from the authors' code: as in the paper's equations, no column of ones is appended to
    the embeddings; the logarithm of λ is learned, so that λ stays above zero. Unlike the penalty
    of :class:`Ridge`, λ is not relative to the scale of the embeddings: choose it accordingly.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        penalty: initial λ, > 0.
        scale: initial α, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        penalty: Positive = 1.0,
        scale: Positive = 1.0,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support, query = embedded.support.flatten(1, 2), embedded.query.flatten(1, 2)
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).to(support.dtype)
        predicted = dual_ridge(support, query, one_hot, self.log_penalty.exp())
        return self.scale * predicted + self.bias
