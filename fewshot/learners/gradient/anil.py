"""ANIL: MAML whose inner steps change the classifier alone."""

from typing import Any, ClassVar

from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.gradient.base import MetaLearner
from guided.encoder import Encoder
from guided.ranges import Count


class ANIL(MetaLearner, fixed=["adapt"]):
    """Almost no inner loop: the encoder is meta-trained, an episode adapts only the classifier.

    Source: Raghu et al. (2020), arXiv:1909.09157, §4. The encoder runs once over all images of a
    batch of episodes, and embeddings can be computed before an episode is known.

    Args:
        encoder: images to embeddings.
        steps: inner steps, at least 1.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
        settings: those of :class:`MetaLearner` and :class:`GradientLearner` but ``adapt``.
    """

    adapts_encoder: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps: Count = 5,
        batch_norm: BatchNormPolicy = "frozen",
        **settings: Any,
    ) -> None:
        super().__init__(encoder, steps=steps, batch_norm=batch_norm, adapt=None, **settings)

    def train(self, mode: bool = True) -> "ANIL":
        super().train(mode)
        self.encoder.train(mode)
        return self

    def loss(self, episodes: Episodes) -> Tensor:
        # One graph through the encoder for all episodes; the classifiers' graphs are small.
        return Learner.loss(self, episodes)

    def _inputs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        embedded = self.embed(episodes)
        return embedded.support.flatten(1, 2), embedded.query.flatten(1, 2)

    def _network(self, n_way: int) -> nn.Module:
        return self.classifier_for(n_way)
