"""R2-D2: ridge regression whose penalty and calibration are meta-trained."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.ridge import dual_ridge
from guided.encoder import Encoder
from guided.errors import check_positive


class R2D2(Learner):
    """Ridge regression onto one-hot labels; learns λ and, for the cross-entropy, α Ŷ + β.

    Source: Bertinetto et al. (2019), arXiv:1805.08136, §3.1 and §3.2 (α and β from its end). β
    moves all classes alike, which softmax does not see; it is the paper's.

    Differs from the authors' code: no column of ones beside the embeddings, as in the paper's
    equations, and λ is learned as its logarithm, so it stays above zero. Unlike :class:`Ridge`'s,
    λ is not relative to the embeddings' scale: before meta-training, choose it by that.

    Args:
        encoder: images to embeddings.
        penalty: where λ starts, > 0.
        scale: where α starts, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        penalty: float = 1.0,
        scale: float = 1.0,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        check_positive("R2D2", penalty=penalty, scale=scale)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support, query = embedded.support.flatten(1, 2), embedded.query.flatten(1, 2)
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).to(support.dtype)
        predicted = dual_ridge(support, query, one_hot, self.log_penalty.exp())
        return self.scale * predicted + self.bias
