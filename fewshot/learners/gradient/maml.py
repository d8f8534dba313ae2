"""MAML: an initialisation from which a few gradient steps suffice."""

from typing import Any

from fewshot.learners.gradient.base import MetaLearner
from guided.encoder import Encoder
from guided.ranges import Positive


class MAML(MetaLearner):
    """Meta-trains encoder and classifier so that gradient steps on the support adapt them.

    Source: Finn et al. (2017), arXiv:1703.03400, algorithm 2; with ``first_order`` its
    approximation of §5.2 (FOMAML).

    Differs from the paper: batch norm normalises queries by statistics of the support, so that
    no query sees another; ``batch_norm: transductive`` does as the paper's code.

    Args:
        encoder: images to embeddings, the starting point; it is copied.
        learning_rate: learning rate of the inner steps, > 0.
        settings: those of :class:`MetaLearner` and :class:`GradientLearner`.
    """

    def __init__(self, encoder: Encoder, *, learning_rate: Positive = 0.4, **settings: Any) -> None:
        super().__init__(encoder, learning_rate=learning_rate, **settings)
