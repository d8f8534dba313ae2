"""Baseline++: a cosine classifier fitted to the support by gradient descent."""

import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.errors import check_positive

# Of the authors' optimizer, github.com/wyharveychen/CloserLookFewShot.
MOMENTUM = 0.9  # with a dampening of as much: a running mean of the gradients
WEIGHT_DECAY = 0.001


class BaselinePlusPlus(Learner):
    """Scores a query by its scaled cosine to a weight vector of each class, fitted to the support.

    Source: Chen et al. (2019), arXiv:1904.04232, §3.2; scale, learning rate and optimizer of their
    repository.

    Differs from the paper: steps on the whole support, where it has 100 epochs in batches of 4;
    weights start at the class means of the normalised embeddings, not at random, so that an
    episode has one answer; the weights' norms are not learned (their code does, the text does not).
    It is differentiable, so it can be meta-trained.

    Args:
        encoder: images to embeddings.
        scale: of the cosines, > 0.
        steps: of gradient descent.
        learning_rate: its step, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        scale: float = 2.0,
        steps: int = 100,
        learning_rate: float = 0.01,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        check_positive("BaselinePlusPlus", scale=scale, steps=steps, learning_rate=learning_rate)
        self.scale = scale
        self.steps = steps
        self.learning_rate = learning_rate

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support = F.normalize(embedded.support, dim=3)
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).to(support.dtype)
        weights = self._fit(support.flatten(1, 2), one_hot, F.normalize(support.mean(2), dim=2))
        query = F.normalize(embedded.query.flatten(1, 2), dim=2)
        return self.scale * query @ F.normalize(weights, dim=2).mT

    def _fit(self, support: Tensor, one_hot: Tensor, weights: Tensor) -> Tensor:
        """Weights ``[E, k, d]`` after the steps.

        The gradient is written out: it needs no graph at evaluation, and has one in training.
        """
        velocity: Tensor | None = None
        for _ in range(self.steps):
            norm = weights.norm(dim=2, keepdim=True).clamp_min(1e-12)
            direction = weights / norm
            residual = (self.scale * support @ direction.mT).softmax(2) - one_hot
            pull = self.scale * (residual / len(one_hot)).mT @ support
            # A weight's length changes no cosine: only what is across it counts.
            across = pull - (pull * direction).sum(2, keepdim=True) * direction
            gradient = across / norm + WEIGHT_DECAY * weights
            # As torch.optim.SGD does: the first one is taken whole.
            velocity = gradient if velocity is None else gradient.lerp(velocity, MOMENTUM)
            weights = weights - self.learning_rate * velocity
        return weights
