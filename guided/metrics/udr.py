"""Agreement of several models' latents on the same images: unsupervised model selection."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor_arrays import Floats

SWEEPS, PRECISION = 1000, 1e-6
"""Of coordinate descent: at most so many passes, or until no coefficient moves by more."""


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
    pairs = udr_pairs(latents, kl, relation=relation, alpha=alpha, least_kl=least_kl)
    others = ~np.eye(len(pairs), dtype=bool)
    return np.array([np.median(row[mask]) for row, mask in zip(pairs, others, strict=True)])


def udr_pairs(
    latents: Sequence[NDArray[Any]],
    kl: Sequence[NDArray[Any]] | None = None,
    *,
    relation: Literal["lasso", "spearman"] = "lasso",
    alpha: float = 0.1,
    least_kl: float = 0.01,
) -> Floats:
    """The score of each pair of models, of which :func:`udr_scores` takes the median.

    Args:
        latents, kl, relation, alpha, least_kl: as for :func:`udr_scores`.

    Returns:
        ``[models, models]``, each row a model with its partners; 0 on the diagonal and where a
        model has no latent.

    Raises:
        InputError: as for :func:`udr_scores`.
    """
    live = _live(latents, kl, least_kl)
    ends = np.cumsum([0, *(codes.shape[1] for codes in live)])
    places = [slice(start, stop) for start, stop in pairwise(ends)]
    together = np.hstack(live)
    if relation == "spearman":
        together = _standardised(_ranks(together))
    # All that either relation needs: each latent with each, of whichever models.
    gram = together.T @ together / len(together)
    pairs = np.zeros((len(live), len(live)))
    for j, partner in enumerate(places):
        strengths = gram[partner] if relation == "spearman" else _lasso(gram, partner, alpha)
        for i, own in enumerate(places):
            related = np.abs(strengths[:, own])
            if i != j and related.size:
                pairs[i, j] = (_matched(related) + _matched(related.T)) / 2
    return pairs


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
        found.append(_standardised(np.asarray(codes, np.float64)[:, alive]))
    return found


def _standardised(codes: Floats) -> Floats:
    return (codes - codes.mean(0)) / codes.std(0)


def _ranks(codes: Floats) -> Floats:
    from scipy.stats import rankdata

    ranks: Floats = rankdata(codes, axis=0) if codes.size else codes
    return ranks


def _lasso(gram: Floats, partner: slice, alpha: float) -> Floats:
    """Coefficients of all latents' regressions on a partner's, ``[d of partner, all]``.

    By coordinate descent (Friedman et al. 2010, Journal of Statistical Software 33, 1-22) on the
    products of latents alone, all regressions at once: the minimum of ``||y - x w||² / 2n +
    alpha |w|``, as scikit-learn's ``Lasso`` has it.
    """
    of_partner, targets = gram[partner, partner], gram[partner]
    found = np.zeros_like(targets)
    for _ in range(SWEEPS):
        moved = 0.0
        for c, products in enumerate(of_partner):
            rest = targets[c] - products @ found + found[c]
            new = np.sign(rest) * np.maximum(np.abs(rest) - alpha, 0)
            moved = max(moved, float(np.abs(new - found[c]).max()))
            found[c] = new
        if moved < PRECISION:
            break
    return found


def _matched(related: Floats) -> float:
    """The mean over columns of ``max² / sum``; 0 for a column without relations."""
    sums = related.sum(0)
    return float((related.max(0) ** 2 / np.where(sums > 0, sums, 1)).mean())
