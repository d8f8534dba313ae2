"""Meta-SGD: MAML that learns a learning rate for every weight."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.learners.gradient.base import MetaLearner, Network
from guided.encoder import Encoder


class MetaSGD(MetaLearner):
    """Meta-trains the initialisation and a learning rate of the inner steps for every weight.

    Source: Li et al. (2017), arXiv:1707.09835, equation 2 and algorithm 1: θ' = θ - α ∘ ∇L(θ).

    Args:
        encoder: images to embeddings.
        settings: those of :class:`MetaLearner` and :class:`GradientLearner`; ``learning_rate`` is
            where all learning rates start.
    """

    def __init__(self, encoder: Encoder, **settings: Any) -> None:
        super().__init__(encoder, **settings)
        adaptable = dict(Network(encoder, self.classifier).named_parameters())
        self._names = tuple(adaptable)
        rates = [torch.full_like(weight, self.learning_rate) for weight in adaptable.values()]
        self.learning_rates = nn.ParameterList(rates)

    def rates(self, adapted: Sequence[str]) -> Mapping[str, Tensor | float]:
        rate_of = dict(zip(self._names, self.learning_rates, strict=True))
        return {name: rate_of[name] for name in adapted}
