"""Fine-tuning: gradient steps on the support from a pretrained encoder and a zero classifier."""

from typing import Any

import torch
from torch import nn

from fewshot.learners.base import BatchNormPolicy
from fewshot.learners.gradient.base import GradientLearner
from guided.encoder import Encoder
from guided.ranges import Count, Positive


class FineTune(GradientLearner, fixed=["evaluation_steps", "first_order"]):
    """Fits the encoder and a linear classifier to the support: transfer without meta-training.

    Source: "Baseline" of Chen et al. (2019), arXiv:1904.04232, §3.2, with the encoder fine-tuned
    as in Dhillon et al. (2020), arXiv:1909.02729.

    Differs from the papers: plain gradient steps on all of the support; the classifier starts at
    zero, so that no class is favoured and no weight is drawn at random.

    Args:
        encoder: images to embeddings.
        steps: gradient steps, at least 1.
        learning_rate: learning rate of the steps, > 0.
        batch_norm: statistics of batch norm; ``frozen``: those of pretraining. See
            :class:`GradientLearner`.
        settings: ``adapt`` and ``engine`` of :class:`GradientLearner`; ``adapt: [classifier]``
            makes a linear probe.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps: Count = 20,
        learning_rate: Positive = 0.05,
        batch_norm: BatchNormPolicy = "frozen",
        **settings: Any,
    ) -> None:
        super().__init__(
            encoder,
            steps=steps,
            evaluation_steps=None,
            learning_rate=learning_rate,
            first_order=True,
            batch_norm=batch_norm,
            **settings,
        )

    def classifier_for(self, n_way: int) -> nn.Linear:
        like = next(self.encoder.parameters(), torch.zeros(()))  # pixels have none
        device = self.encoder.chosen.device
        classifier = nn.Linear(self.encoder.out_dim, n_way, device=device, dtype=like.dtype)
        for weights in classifier.parameters():
            nn.init.zeros_(weights)
        return classifier
