"""Matching networks: attention over the support images."""

from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.similarity import Temperature, similarity
from guided.encoder import Encoder


class Matching(Learner):
    """Scores a class by the attention that a query pays to its support images, summed.

    Source: Vinyals et al. (2016), arXiv:1606.04080, equation 1 with the attention of §2.1.1. The
    logits are the logarithms of the class probabilities.

    Differs from the paper: no full context embeddings (§2.1.2); support and query share an encoder.

    Args:
        encoder: images to embeddings.
        temperature: divides the cosines before the softmax over the support. The paper has
            none (1), and cosines then tell images apart by a factor of e² at most. At one shot it
            changes training alone; at more, how much the closest image counts.
        learn_temperature: meta-train it too, from there.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 1.0,
        learn_temperature: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.temperature = Temperature(temperature, learned=learn_temperature, owner="Matching")

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        query, support = embedded.query.flatten(1, 2), embedded.support.flatten(1, 2)
        attention = self.temperature(similarity(query, support, "cosine")).log_softmax(2)
        return attention.unflatten(2, (episodes.n_way, episodes.n_shot)).logsumexp(3)
