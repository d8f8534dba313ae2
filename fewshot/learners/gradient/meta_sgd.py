"""Meta-SGD: MAML that learns a learning rate for every weight."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fewshot.learners.base import BatchNormPolicy
from fewshot.learners.gradient.adaptation import Engine
from fewshot.learners.gradient.base import MetaLearner, Network
from guided.encoder import Encoder


class MetaSGD(MetaLearner):
    """Meta-trains the initialisation and, weight by weight, direction and size of the inner step.

    Source: Li et al. (2017), arXiv:1707.09835, equation 2 and algorithm 1: θ' = θ - α ∘ ∇L(θ).

    Args:
        encoder: images to embeddings.
        n_way: classes in an episode, in training and at evaluation.
        steps: inner steps; one in the paper.
        evaluation_steps: inner steps at evaluation, if other than ``steps``.
        learning_rate: where all learning rates start.
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
        learning_rate: float = 0.1,
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
        adaptable = dict(Network(encoder, self.classifier).named_parameters())
        self._names = tuple(adaptable)
        rates = [torch.full_like(weight, learning_rate) for weight in adaptable.values()]
        self.learning_rates = nn.ParameterList(rates)

    def rates(self, adapted: Sequence[str]) -> Mapping[str, Tensor | float]:
        rate_of = dict(zip(self._names, self.learning_rates, strict=True))
        return {name: rate_of[name] for name in adapted}
