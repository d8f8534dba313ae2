"""Prototypical networks: the nearest class mean."""

from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.similarity import Metric, Temperature, similarity
from guided.encoder import Encoder
from guided.ranges import Positive


class Prototypical(Learner):
    """Scores a class by the similarity of a query to the mean embedding of its support.

    Source: Snell et al. (2017), arXiv:1703.05175, equations 1 and 2; with cosine similarity,
    Chen et al. (2021), arXiv:2003.04390 (Meta-Baseline), equation 2.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        metric: squared Euclidean distance or cosine similarity.
        temperature: divides the scores, > 0; it affects only meta-training, since it does not
            change their order.
        learn_temperature: meta-train the temperature, starting at ``temperature``.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        metric: Metric = "squared_euclidean",
        temperature: Positive = 1.0,
        learn_temperature: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.metric: Metric = metric
        self.temperature = Temperature(temperature, learned=learn_temperature)

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        prototypes = embedded.support.mean(2)
        scores = similarity(embedded.query.flatten(1, 2), prototypes, self.metric)
        return self.temperature(scores)
