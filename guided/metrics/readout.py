"""Explicitness: how well a linear classifier reads the factors from all latents."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.metrics.factor_arrays import Discrete, as_categories, checked, split
from guided.metrics.probe import linear_probe_scores


def explicitness(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    factor_bins: int = 10,
) -> float:
    """The held-out area under the ROC curve of a linear classifier of each factor.

    Source: Ridgeway & Mozer (2018), arXiv:1802.05312: each value against all others, averaged
    over values and then factors.

    Differs from the paper: multinomial logistic regression, of standardised codes.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``; continuous ones are divided at their quantiles.
        seed: of the split, two thirds to fit and one to test.
        discrete: which factors are categories; those of whole numbers if not given.
        factor_bins: bins of equally many rows for each continuous factor.

    Returns:
        0 … 1; chance is 0.5. A value that is in one of the two parts alone is left out.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    from scipy.special import softmax
    from sklearn.metrics import roc_auc_score

    codes, factors = checked(codes, factors)
    train, test = split(len(codes), seed)
    areas = []
    for labels in as_categories(factors, discrete, factor_bins).T:
        values, scores = linear_probe_scores((codes[train], labels[train]), codes[test])
        probabilities = softmax(scores, axis=1)
        of_values = [
            roc_auc_score(labels[test] == value, probabilities[:, i])
            for i, value in enumerate(values)
            if 0 < (labels[test] == value).mean() < 1
        ]
        areas.append(np.mean(of_values))
    return float(np.mean(areas))
