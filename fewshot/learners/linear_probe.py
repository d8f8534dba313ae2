"""Logistic regression on the support, a usual probe of self-supervised encoders."""

import math

import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.errors import check_positive


class LinearProbe(Learner):
    """Fits a multinomial logistic regression to each episode's support.

    Source: the base learner of Tian et al. (2020), arXiv:2003.11539; in their code,
    scikit-learn's ``LogisticRegression(C=1)`` on embeddings of norm one. Minimises
    Σ cross-entropy + penalty / 2 · ‖W‖², with an unpenalised intercept, by Nesterov's accelerated
    gradient descent. The steps are differentiable.

    Differs from the paper: embeddings are centred on the mean of the support and divided by the
    root of their mean squared norm, instead of each by its own norm, because latents have an
    arbitrary scale and origin.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        penalty: weight of the penalty, 1 / C, > 0.
        steps: steps of gradient descent, at least 1. At penalty 1 and up to about 100 support
            images, 100 steps leave an error of the logits below 1e-5; the number needed grows
            with √(images / penalty).
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        penalty: float = 1.0,
        steps: int = 100,
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        check_positive("LinearProbe", penalty=penalty, steps=steps)
        self.penalty = penalty
        self.steps = steps

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        support = embedded.support.flatten(1, 2)
        centre = support.mean(1, keepdim=True)
        support = support - centre
        scale = support.square().sum(2).mean(1).clamp_min(1e-12).rsqrt()[:, None, None]
        support = support * scale
        query = (embedded.query.flatten(1, 2) - centre) * scale
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).to(support.dtype)
        dual, intercept = self._fit(support @ support.mT, one_hot)
        return query @ support.mT @ dual + intercept

    def _fit(self, gram: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        """The fit in dual form: A ``[E, n, k]`` and b ``[E, 1, k]`` of the logits X Xᵀ A + b.

        Descent from W = 0 stays in the span of the support, so W = Xᵀ A, and products with the
        n × n Gram matrix are cheaper than those with d-dimensional embeddings.

        Args:
            gram: X Xᵀ, ``[E, n, n]``.
            one_hot: labels ``[n, k]``.
        """
        n, k = one_hot.shape
        curvature = self.penalty / n
        # 1 over a bound on the curvature of the mean cross-entropy: the Hessian of softmax is at
        # most 1/2, the second moment of the support at most 1 (centred, mean squared norm 1).
        step = 1 / (0.5 + curvature)
        momentum = (1 - math.sqrt(curvature * step)) / (1 + math.sqrt(curvature * step))
        dual = ahead = gram.new_zeros(len(gram), n, k)
        intercept = ahead_intercept = gram.new_zeros(len(gram), 1, k)
        for _ in range(self.steps):
            residual = ((gram @ ahead + ahead_intercept).softmax(2) - one_hot) / n
            before, before_intercept = dual, intercept
            dual = ahead - step * (residual + curvature * ahead)
            intercept = ahead_intercept - step * residual.sum(1, keepdim=True)
            ahead = dual + momentum * (dual - before)
            ahead_intercept = intercept + momentum * (intercept - before_intercept)
        return dual, intercept
