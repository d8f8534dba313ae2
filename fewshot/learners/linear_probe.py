"""Logistic regression on the support, a usual probe of self-supervised encoders."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from guided.encoder import Encoder
from guided.errors import InputError
from guided.logistic_regression import PRECISION, TINY, LogisticRegressions, norm
from guided.ranges import Positive


class LinearProbe(Learner):
    """Fits a multinomial logistic regression to each episode's support.

    Source: the base learner of Tian et al. (2020), arXiv:2003.11539; in their code,
    scikit-learn's ``LogisticRegression(C=1)`` on embeddings of norm one. Minimises
    Σ cross-entropy + penalty / 2 · ‖W‖², with an unpenalised intercept, by Newton's method until
    it has converged. In meta-training the gradient is that of the solution (implicit
    differentiation).

    Differs from the paper: embeddings are centred on the mean of the support and divided by the
    root of their mean squared norm, instead of each by its own norm, because latents have an
    arbitrary scale and origin.

    Args:
        encoder: images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``.
        penalty: weight of the penalty, 1 / C, > 0; below about 1e-7 double precision is not
            enough.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.
    """

    def __init__(
        self, encoder: Encoder, *, penalty: Positive = 1.0, batch_norm: BatchNormPolicy = "frozen"
    ) -> None:
        super().__init__(encoder, batch_norm)
        self.penalty = penalty

    def logits(self, episodes: Episodes) -> Tensor:
        """As for every :class:`Learner`.

        Raises:
            InputError: embeddings are not finite, or the penalty is too small for the fit to
                converge in double precision.
        """
        embedded = self.embed(episodes)
        support = embedded.support.flatten(1, 2)
        centre = support.mean(1, keepdim=True)
        support = support - centre
        scale = support.square().sum(2).mean(1).clamp_min(1e-12).rsqrt()[:, None, None]
        query = (embedded.query.flatten(1, 2) - centre) * scale
        one_hot = F.one_hot(episodes.support_labels(), episodes.n_way).double()
        weights, intercept = self._fit((support * scale).double(), one_hot)
        return query @ weights.to(query) + intercept.to(query)

    def _fit(self, support: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        """Weights ``[E, d, k]`` and intercepts ``[E, 1, k]``.

        Args:
            support: X, ``[E, n, d]``, centred.
            one_hot: labels ``[n, k]``.
        """
        with torch.no_grad():
            axes, coordinates = _principal_coordinates(support)
            fit = LogisticRegressions(coordinates, one_hot, self.penalty, "LinearProbe.penalty")
            solution, p = fit.solve()
        inside, intercept = solution[:, :-1], solution[:, -1:]
        weights = axes @ inside
        if not support.requires_grad:
            return weights, intercept

        # d W = -H⁻¹ d G, where G is the gradient of the objective, 0 at the solution, as a
        # function of the support. Outside of the support's span the Hessian H is the penalty.
        def solved(slopes: Tensor) -> Tensor:
            own = axes.mT @ slopes[:, :-1]
            right = torch.cat([own, slopes[:, -1:]], 1)
            found = fit.newton(p, right, PRECISION * norm(right))
            outside = (slopes[:, :-1] - axes @ own) / self.penalty
            return torch.cat([axes @ found[:, :-1] + outside, found[:, -1:]], 1)

        residual = (support @ weights + intercept).softmax(2) - one_hot
        slopes = support.mT @ residual + self.penalty * weights
        gradient = torch.cat([slopes, residual.sum(1, keepdim=True)], 1)
        gradient.register_hook(solved)
        return weights - gradient[:, :-1], intercept - gradient[:, -1:]


def _principal_coordinates(support: Tensor) -> tuple[Tensor, Tensor]:
    """The principal axes ``[E, d, n]`` of X, and its coordinates ``[E, n, n]`` along them.

    The solution lies in the span of the support, which is small, whatever d.

    Raises:
        InputError: X is not finite.
    """
    gram = support @ support.mT
    if not gram.isfinite().all():
        raise InputError("LinearProbe: the embeddings are not finite")
    values, vectors = torch.linalg.eigh(gram)
    lengths = values.clamp_min(0).sqrt()
    exists = values > 1e-12 * values[:, -1:]
    inverse = torch.where(exists, 1 / lengths.clamp_min(TINY), 0)
    return support.mT @ (vectors * inverse[:, None]), vectors * (lengths * exists)[:, None]
