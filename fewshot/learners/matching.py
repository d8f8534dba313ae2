"""Matching networks: attention over the support images."""

from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.similarity import Temperature, similarity
from guided.encoder import Encoder
from guided.ranges import Positive


class Matching(Learner):
    """Scores a class by the summed attention of a query to its support images.

    Source: Vinyals et al. (2016), arXiv:1606.04080, equation 1 with the attention of §2.1.1. The
    logits are the logarithms of the class probabilities.

    Differs from the paper: no full context embeddings (§2.1.2); support and query share an encoder.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        temperature: divides the cosines before the softmax over the support, > 0. At 1, as in the
            paper, the attention to two images differs by a factor of e² at most. At one shot the
            temperature affects only meta-training; at more shots, a low one emphasises the
            closest images.
        learn_temperature: meta-train the temperature, starting at ``temperature``.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: Positive = 1.0,
        learn_temperature: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.temperature = Temperature(temperature, learned=learn_temperature)

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        query, support = embedded.query.flatten(1, 2), embedded.support.flatten(1, 2)
        attention = self.temperature(similarity(query, support, "cosine")).log_softmax(2)
        return attention.unflatten(2, (episodes.n_way, episodes.n_shot)).logsumexp(3)
