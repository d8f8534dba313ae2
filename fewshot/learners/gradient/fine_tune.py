"""Fine-tuning: gradient steps on the support from a pretrained encoder and an empty classifier."""

from collections.abc import Sequence

import torch
from torch import nn

from fewshot.learners.base import BatchNormPolicy
from fewshot.learners.gradient.adaptation import Engine
from fewshot.learners.gradient.base import GradientLearner
from guided.encoder import Encoder


class FineTune(GradientLearner):
    """Fits encoder and a linear classifier to the support; what transfer alone is worth.

    Source: "Baseline" of Chen et al. (2019), arXiv:1904.04232, §3.2, with the encoder fine-tuned
    as in Dhillon et al. (2020), arXiv:1909.02729.

    Differs from the papers: plain gradient steps on all of the support; the classifier starts at
    zero, so that no class is favoured and nothing is drawn.

    Args:
        encoder: images to embeddings.
        steps: gradient steps.
        learning_rate: of the steps.
        adapt: what they change; see :class:`GradientLearner`. ``[classifier]``: a linear probe.
        batch_norm: see :class:`GradientLearner`; by default the pretrained statistics.
        engine: see :class:`GradientLearner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps: int = 20,
        learning_rate: float = 0.05,
        adapt: Sequence[str] | None = None,
        batch_norm: BatchNormPolicy = "frozen",
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            encoder,
            steps=steps,
            evaluation_steps=None,
            learning_rate=learning_rate,
            first_order=True,
            adapt=adapt,
            batch_norm=batch_norm,
            engine=engine,
        )

    def classifier_for(self, n_way: int) -> nn.Linear:
        like = next(self.encoder.parameters(), torch.zeros(()))
        classifier = nn.Linear(self.encoder.out_dim, n_way, device=like.device, dtype=like.dtype)
        for weights in classifier.parameters():
            nn.init.zeros_(weights)
        return classifier
