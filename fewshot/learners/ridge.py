"""Ridge regression onto one-hot labels, in closed form."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.ranges import Positive
from guided.vae import precise


def dual_ridge(support: Tensor, query: Tensor, labels: Tensor, penalty: Tensor) -> Tensor:
    """Predictions X' Xᵀ (X Xᵀ + λ I)⁻¹ Y, from a linear system of size n whatever d.

    Source: Bertinetto et al. (2019), arXiv:1805.08136, equations 4 to 6.

    Args:
        support: X, ``[E, n, d]``.
        query: X', ``[E, q, d]``.
        labels: Y, ``[n, k]``, the same for all E episodes.
        penalty: λ > 0, a scalar or ``[E, 1, 1]``.

    Returns:
        ``[E, q, k]``.
    """
    # Single precision also inside autocast: no system is solved in bfloat16.
    with torch.autocast(support.device.type, enabled=False):
        support, query, labels = precise(support), precise(query), precise(labels)
        gram = support @ support.mT
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        solution = torch.linalg.solve(gram + penalty * identity, labels.expand(len(gram), -1, -1))
        return query @ support.mT @ solution


class Ridge(Learner):
    """Fits a linear map from embeddings of the support to one-hot labels, in dual form.

    Source: Bertinetto et al. (2019), arXiv:1805.08136, equations 4 to 6, with a fixed penalty;
    :class:`R2D2` is their meta-trained learner.

    Differs from the paper: embeddings are centred on the mean of the support (an intercept), and
    the penalty is relative to their mean squared norm, because latents have an arbitrary scale.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        penalty: λ over the mean squared norm of the centred support, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self, encoder: Encoder, *, penalty: Positive = 1.0, batch_norm: BatchNormPolicy = "frozen"
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.penalty = penalty

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support = embedded.support.flatten(1, 2)
        centre = support.mean(1, keepdim=True)
        support = support - centre
        query = embedded.query.flatten(1, 2) - centre
        scale = support.square().sum(2).mean(1).clamp_min(1e-12)[:, None, None]
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).to(support.dtype)
        return dual_ridge(support, query, one_hot - 1 / episodes.n_way, self.penalty * scale)
