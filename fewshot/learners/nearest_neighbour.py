"""Nearest neighbour: the class of the closest support image."""

from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.similarity import Metric, similarity
from guided.encoder import Encoder


class NearestNeighbour(Learner):
    """Scores a class by the similarity of a query to its closest support image.

    Source: the baseline of Vinyals et al. (2016), arXiv:1606.04080, table 1. The same
    as :class:`Prototypical` at one shot.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        metric: squared Euclidean distance or cosine similarity.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        metric: Metric = "squared_euclidean",
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.metric: Metric = metric

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        scores = similarity(
            embedded.query.flatten(1, 2), embedded.support.flatten(1, 2), self.metric
        )
        return scores.unflatten(2, (episodes.n_way, episodes.n_shot)).amax(3)
