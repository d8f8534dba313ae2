"""Disentanglement by the importance of latents for predicting factors: DCI."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor_arrays import (
    Discrete,
    Floats,
    checked,
    discrete_columns,
    split,
)


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness of codes.

    Attributes:
        disentanglement: 0 … 1; 1: each latent matters for one factor only.
        completeness: 0 … 1; 1: for each factor only one latent matters.
        informativeness: mean over factors of the held-out accuracy, or of R² for continuous ones,
            which may be negative.
        importances: of each latent for each factor, ``[d, k]``; the columns sum to 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importances: Floats


def dci(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    predictor: Literal["forest", "boosting"] = "forest",
) -> DCI:
    """Disentanglement, completeness and informativeness, from an ensemble of trees for each factor.

    Source: Eastwood & Williams (2018), "A Framework for the Quantitative Evaluation of Disentangled
    Representations" (ICLR). The importance of a latent is the reduction of impurity by it.

    Scores of different predictors do not compare. A random forest of 20 trees is much faster than
    boosting, with which disentanglement_lib (arXiv:1811.12359) makes its scores. Its leaves hold
    at least 1 % of the rows: trees that are grown further fit noise, predict worse, and find
    useless latents important (the paper limits their depth by validation).

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``; categories are classified, continuous factors regressed.
        seed: of the split, two thirds to fit and one to test, and of the trees.
        discrete: which factors are categories; those of whole numbers if not given.
        predictor: a random forest, or gradient boosting with scikit-learn's settings.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    codes, factors = checked(codes, factors)
    train, test = split(len(codes), seed)
    importances, scores = np.zeros((codes.shape[1], factors.shape[1])), []
    for k, category in enumerate(discrete_columns(factors, discrete)):
        ensemble = _ensemble(predictor, bool(category), seed)
        ensemble.fit(codes[train], factors[train, k])
        scores.append(ensemble.score(codes[test], factors[test, k]))
        importances[:, k] = ensemble.feature_importances_
    told, complete = disentanglement_and_completeness(importances)
    return DCI(told, complete, float(np.mean(scores)), importances)


def disentanglement_and_completeness(importances: NDArray[Any]) -> tuple[float, float]:
    """The first two scores of DCI, of a matrix of importances.

    Each row (latent) is scored by 1 - its entropy in units of log k, weighted by its sum; for
    completeness the same of the columns (factors), in units of log d.

    Args:
        importances: ``[d, k]``, none negative.

    Returns:
        disentanglement and completeness, 0 … 1; both 0 if nothing matters.

    Raises:
        InputError: a negative importance, or no matrix.
    """
    matrix = np.asarray(importances, np.float64)
    if matrix.ndim != 2 or not matrix.size or not (matrix >= 0).all():
        raise InputError("importances: expected a matrix [d, k] of numbers >= 0")
    return _concentration(matrix), _concentration(matrix.T)


def _concentration(matrix: Floats) -> float:
    """The mean over rows, weighted by their sums, of 1 - entropy / log(columns)."""
    sums = matrix.sum(1, keepdims=True)
    if not sums.any():
        return 0.0
    shares = matrix / np.where(sums > 0, sums, 1)
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    # A single column is all there is: whatever matters is concentrated in it.
    scores = 1 - entropies / np.log(max(2, matrix.shape[1]))
    return float(scores @ sums[:, 0] / sums.sum())


def _ensemble(predictor: str, category: bool, seed: int) -> Any:
    from sklearn import ensemble

    if predictor == "boosting":
        of = ensemble.GradientBoostingClassifier if category else ensemble.GradientBoostingRegressor
        return of(random_state=seed)
    forest = ensemble.RandomForestClassifier if category else ensemble.RandomForestRegressor
    # All latents compete at each split: with a random part of them, useless ones would be given
    # importance wherever the useful one is left out.
    return forest(n_estimators=20, max_features=None, min_samples_leaf=0.01, random_state=seed)
