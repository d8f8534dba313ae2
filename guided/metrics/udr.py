"""Agreement of several models' latents on the same images: unsupervised model selection."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor import correlations
from guided.metrics.factor_arrays import Floats


def udr_scores(
    latents: Sequence[NDArray[Any]],
    kl: Sequence[NDArray[Any]] | None = None,
    *,
    relation: Literal["lasso", "spearman"] = "lasso",
    alpha: float = 0.1,
    least_kl: float = 0.01,
) -> Floats:
    """The unsupervised disentanglement ranking: one score for each of several models.

    Source: Duan et al. (2020), arXiv:1905.12614. For two models, R holds the strengths of the
    relations between their latents. A latent is as well matched as ``max² / sum`` of its row or
    column of R; the score of the pair is the mean over rows and that over columns, averaged. A
    model's score is the median over its partners. Disentangled models, which find the same
    factors up to order and sign, agree with each other; entangled ones do not.

    Relations are absolute rank correlations, or absolute coefficients of a Lasso regression of
    the model's latents, standardised, on its partner's; 1 - alpha is then the highest score.

    Args:
        latents: of each model on the same images, ``[n, d]``; d may differ between models.
        kl: of each model's latents, their mean KL in nats, ``[d]``. If not given, all count.
        relation: ``lasso`` or ``spearman``.
        alpha: of the Lasso.
        least_kl: latents whose KL is not above it are left out, as are constant ones.

    Returns:
        ``[models]``, 0 … 1; 0 for a model without a latent.

    Raises:
        InputError: fewer than two models, or arrays that do not fit.
    """
    live = _live(latents, kl, least_kl)
    pairs = np.zeros((len(live), len(live)))
    for i, own in enumerate(live):
        for j, partner in enumerate(live):
            if i != j and own.shape[1] and partner.shape[1]:
                if relation == "lasso":
                    related = _lasso(partner, own, alpha)
                else:
                    related = np.abs(correlations(partner, own, ranks=True))
                pairs[i, j] = (_matched(related) + _matched(related.T)) / 2
    others = ~np.eye(len(live), dtype=bool)
    return np.array([np.median(row[mask]) for row, mask in zip(pairs, others, strict=True)])


def _live(
    latents: Sequence[NDArray[Any]], kl: Sequence[NDArray[Any]] | None, least_kl: float
) -> list[Floats]:
    """The standardised latents that count."""
    if len(latents) < 2 or len({len(codes) for codes in latents}) != 1:
        raise InputError("udr_scores: expected latents of at least two models, of the same images")
    if kl is not None and [np.shape(k) for k in kl] != [codes.shape[1:] for codes in latents]:
        raise InputError("udr_scores: expected the KL of each latent of each model")
    found = []
    for i, codes in enumerate(latents):
        alive = np.ptp(codes, axis=0) > 0
        if kl is not None:
            alive &= np.asarray(kl[i]) > least_kl
        kept = np.asarray(codes, np.float64)[:, alive]
        found.append((kept - kept.mean(0)) / kept.std(0))
    return found


def _lasso(partner: Floats, own: Floats, alpha: float) -> Floats:
    """``[d of partner, d of own]``."""
    from sklearn.linear_model import Lasso

    return np.abs(np.atleast_2d(Lasso(alpha=alpha).fit(partner, own).coef_)).T


def _matched(related: Floats) -> float:
    """The mean over columns of ``max² / sum``; 0 for a column without relations."""
    sums = related.sum(0)
    return float((related.max(0) ** 2 / np.where(sums > 0, sums, 1)).mean())
