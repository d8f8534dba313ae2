"""What a learner is: support and query of many episodes in, logits of the queries out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from guided.checkpoint import Encoder

BatchNormPolicy = Literal["frozen", "support", "transductive"]


class Learner(nn.Module, ABC):
    """Classifies the queries of E episodes at once.

    A learner's constructor takes the encoder first; its keyword arguments are its configuration.

    Attributes:
        transductive: whether a query's logits depend on the other queries.
        batch_norm: where batch norm takes its statistics at evaluation; ``frozen``: from
            training.
    """

    transductive: ClassVar[bool] = False
    batch_norm: ClassVar[BatchNormPolicy] = "frozen"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def logits(self, episodes: Episodes) -> Tensor:
        """Class scores, ``[E, n_way * n_query, n_way]``.

        Args:
            episodes: of images (uint8 or float in [0, 1]) or of the encoder's embeddings.
        """

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries, nats per query, a scalar."""
        logits = self.logits(episodes)
        labels = episodes.query_labels().repeat(len(episodes))
        return F.cross_entropy(logits.flatten(0, 1), labels)

    def embed(self, episodes: Episodes) -> Episodes:
        """Episodes of embeddings; those that are embeddings already pass through."""
        return episodes if episodes.support.ndim == 4 else episodes.map(self.encoder)


LearnerFactory = Callable[[Encoder], Learner]
