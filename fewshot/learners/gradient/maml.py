"""MAML: an initialisation from which a few gradient steps suffice."""

from collections.abc import Sequence

from fewshot.learners.base import BatchNormPolicy
from fewshot.learners.gradient.adaptation import Engine
from fewshot.learners.gradient.base import MetaLearner
from guided.encoder import Encoder


class MAML(MetaLearner):
    """Meta-trains encoder and classifier so that gradient steps on the support adapt them.

    Source: Finn et al. (2017), arXiv:1703.03400, algorithm 2; with ``first_order`` its
    approximation of §5.2 (FOMAML). On learn2learn, or vectorised over episodes.

    Differs from the paper: batch norm takes its statistics from the support, unless
    ``batch_norm="transductive"`` asks for the paper's.

    Args:
        encoder: images to embeddings; the random, unguided or guided starting point.
        n_way: classes in an episode, in training and at evaluation.
        steps: inner steps.
        evaluation_steps: inner steps at evaluation, if other than ``steps``.
        learning_rate: of the inner steps.
        first_order: treat the inner gradients as constants in meta-training.
        adapt: what the inner steps change; see :class:`GradientLearner`.
        batch_norm: see :class:`GradientLearner`.
        engine: see :class:`GradientLearner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_way: int = 5,
        steps: int = 1,
        evaluation_steps: int | None = None,
        learning_rate: float = 0.4,
        first_order: bool = False,
        adapt: Sequence[str] | None = None,
        batch_norm: BatchNormPolicy = "support",
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            encoder,
            n_way,
            steps=steps,
            evaluation_steps=evaluation_steps,
            learning_rate=learning_rate,
            first_order=first_order,
            adapt=adapt,
            batch_norm=batch_norm,
            engine=engine,
        )
