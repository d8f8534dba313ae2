"""Baseline++: a cosine classifier fitted to the support by gradient descent."""

import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.ranges import Count, Positive

# From the authors' code, github.com/wyharveychen/CloserLookFewShot.
MOMENTUM = 0.9  # dampening is 0.9 too, so the velocity is a running mean of the gradients
WEIGHT_DECAY = 0.001


class BaselinePlusPlus(Learner):
    """Scores a query by its scaled cosine to one weight vector a class, fitted to the support.

    Source: Chen et al. (2019), arXiv:1904.04232, §3.2; scale, learning rate and optimizer as in
    their code. The steps are differentiable, so the encoder can be meta-trained through them.

    Differs from the paper: each step uses the whole support, instead of 100 epochs in batches of
    4; weights start at the class means of the normalised embeddings, not at random, so that the
    result is deterministic; the norms of the weights are not learned (as in the paper's text, but
    not its code).

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        scale: factor of the cosines, > 0.
        steps: steps of gradient descent, at least 1.
        learning_rate: learning rate of the steps, > 0.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        scale: Positive = 2.0,
        steps: Count = 100,
        learning_rate: Positive = 0.01,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
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
        """Weights after the steps.

        The gradient is written out, so that no graph is needed at evaluation.

        Args:
            support: normalised embeddings ``[E, n, d]``.
            one_hot: labels ``[n, k]``.
            weights: starting point ``[E, k, d]``.

        Returns:
            ``[E, k, d]``.
        """
        velocity: Tensor | None = None
        for _ in range(self.steps):
            norm = weights.norm(dim=2, keepdim=True).clamp_min(1e-12)
            direction = weights / norm
            residual = (self.scale * support @ direction.mT).softmax(2) - one_hot
            pull = self.scale * (residual / len(one_hot)).mT @ support
            # Cosines ignore the length of a weight: its gradient is orthogonal to it.
            across = pull - (pull * direction).sum(2, keepdim=True) * direction
            gradient = across / norm + WEIGHT_DECAY * weights
            # As in torch.optim.SGD, the first velocity is the first gradient, undampened.
            velocity = gradient if velocity is None else gradient.lerp(velocity, MOMENTUM)
            weights = weights - self.learning_rate * velocity
        return weights
