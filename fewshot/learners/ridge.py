"""Ridge regression onto one-hot labels, in closed form."""

import torch
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.checkpoint import Encoder
from guided.errors import InputError


class Ridge(Learner):
    """Fits a linear map from the support's embeddings to one-hot labels, in its dual form.

    Source: Bertinetto et al. (2019), arXiv:1805.08136, equations 4 to 6, on a fixed encoder. The
    system has n_way · n_shot unknowns, whatever the embeddings' width.

    Differs from the paper: embeddings are centred on the support's mean (an intercept), and the
    penalty is relative to their mean squared norm, because latents have an arbitrary scale.

    Args:
        encoder: images to embeddings.
        penalty: λ as a multiple of the centred support's mean squared norm, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self, encoder: Encoder, *, penalty: float = 1.0, batch_norm: BatchNormPolicy = "frozen"
    ) -> None:
        super().__init__(encoder, batch_norm)
        if not penalty > 0:
            raise InputError(f"Ridge.penalty: expected > 0, got {penalty}")
        self.penalty = penalty

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support = embedded.support.flatten(1, 2)
        centre = support.mean(1, keepdim=True)
        support = support - centre
        query = embedded.query.flatten(1, 2) - centre
        gram = support @ support.transpose(1, 2)
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
        labels = identity.new_zeros(episodes.n_way * episodes.n_shot, episodes.n_way)
        positions = torch.arange(len(labels), device=gram.device)
        labels[positions, positions // episodes.n_shot] = 1
        labels = (labels - 1 / episodes.n_way).expand(len(gram), -1, -1)
        regularised = gram + self.penalty * scale[:, None, None] * identity
        return query @ support.transpose(1, 2) @ torch.linalg.solve(regularised, labels)
