"""ANIL: MAML whose inner steps change the classifier alone."""

from typing import ClassVar

from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.gradient.adaptation import Engine
from fewshot.learners.gradient.base import MetaLearner
from guided.encoder import Encoder


class ANIL(MetaLearner):
    """Almost no inner loop: the encoder is meta-trained, episodes adapt only the classifier.

    Source: Raghu et al. (2020), arXiv:1909.09157, §4. The encoder runs once over all episodes'
    images, and its embeddings can be computed before an episode is known.

    Args:
        encoder: images to embeddings.
        n_way: classes in an episode, in training and at evaluation.
        steps: inner steps.
        evaluation_steps: inner steps at evaluation, if other than ``steps``.
        learning_rate: of the inner steps.
        first_order: treat the inner gradients as constants in meta-training.
        batch_norm: as of a learner that compares embeddings; see :class:`Learner`.
        engine: see :class:`GradientLearner`.
    """

    adapts_encoder: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_way: int = 5,
        steps: int = 5,
        evaluation_steps: int | None = None,
        learning_rate: float = 0.1,
        first_order: bool = False,
        batch_norm: BatchNormPolicy = "frozen",
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            encoder,
            n_way,
            steps=steps,
            evaluation_steps=evaluation_steps,
            learning_rate=learning_rate,
            first_order=first_order,
            adapt=None,
            batch_norm=batch_norm,
            engine=engine,
        )

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
