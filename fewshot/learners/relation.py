"""Relation networks: a learned comparison."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.ranges import Count


class Relation(Learner):
    """Scores a query and a class by a network that compares their embeddings.

    Source: Sung et al. (2018), arXiv:1711.06025, equations 1 and 2.

    Differs from the paper: encoders return vectors, so two fully connected layers replace its two
    convolutional blocks (of 64 filters, with batch norm); a class is represented by the mean of
    its support, not the sum, so that the number of shots may change after meta-training.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        hidden: width of both hidden layers, at least 1.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    needs_training = True

    def __init__(
        self, encoder: Encoder, *, hidden: Count = 64, batch_norm: BatchNormPolicy = "frozen"
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.relation = nn.Sequential(
            nn.Linear(2 * encoder.out_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        classes = embedded.support.mean(2).unsqueeze(1)
        query = embedded.query.flatten(1, 2).unsqueeze(2)
        shape = (-1, query.shape[1], episodes.n_way, -1)
        # Every query beside every class: [E, n_way * n_query, n_way, 2 d].
        pairs = torch.cat([classes.expand(*shape), query.expand(*shape)], 3)
        return self.relation(pairs).squeeze(3)

    def relations(self, episodes: Episodes) -> Tensor:
        """Relation scores of equation 1, in (0, 1), ``[E, n_way * n_query, n_way]``.

        Args:
            episodes: episodes of images or of embeddings; see :meth:`Learner.logits`.
        """
        return self.logits(episodes).sigmoid()

    def loss(self, episodes: Episodes) -> Tensor:
        """Mean squared error of equation 2, a scalar: to 1 for the query's class, 0 for others."""
        relations = self.relations(episodes)
        target = F.one_hot(episodes.query_labels(), episodes.n_way).to(relations.dtype)
        return F.mse_loss(relations, target.expand_as(relations))
