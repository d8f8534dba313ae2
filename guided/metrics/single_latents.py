"""Disentanglement by how well single latents predict a factor: the SAP score."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guided.metrics.factor import correlations
from guided.metrics.factor_arrays import (
    Discrete,
    Floats,
    Integers,
    as_categories,
    checked,
    discrete_columns,
    gap,
    split,
)


def sap(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    classifier: Literal["thresholds", "svm"] = "thresholds",
) -> float:
    """The separated attribute predictability: how far the best single latent is ahead.

    Source: Kumar et al. (2018), arXiv:1711.00848, §3: the mean over factors of the best latent's
    score less the second's. A continuous factor's score is R² of the linear regression on one
    latent, its squared correlation. A category's is the accuracy on held-out rows.

    The paper classifies by thresholds on a latent, as many as there are categories less one, with
    categories weighted equally; here a tree chooses them. disentanglement_lib (arXiv:1811.12359)
    has a linear support vector machine instead, which can hardly tell a category in the middle, so
    that even perfect codes are far from 1: the two, and R², are scales that do not compare.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``.
        seed: of the split, two thirds to fit and one to test.
        discrete: which factors are categories; those of whole numbers if not given.
        classifier: ``thresholds``: balanced accuracy; ``svm``: accuracy, as in disentanglement_lib.

    Returns:
        0 … 1.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    codes, factors = checked(codes, factors)
    categories = discrete_columns(factors, discrete)
    scores = correlations(codes, factors) ** 2
    train, test = split(len(codes), seed)
    accuracy = _threshold_accuracy if classifier == "thresholds" else _svm_accuracy
    for k in np.flatnonzero(categories):
        labels = as_categories(factors[:, [k]], discrete=True)[:, 0]
        for latent in range(codes.shape[1]):
            fitted, held_out = codes[train, latent, None], codes[test, latent, None]
            scores[latent, k] = accuracy(fitted, labels[train], held_out, labels[test], seed)
    return float(gap(scores).mean())


def _threshold_accuracy(
    fitted: Floats, labels: Integers, held_out: Floats, truth: Integers, seed: int
) -> float:
    """Balanced accuracy, the mean over categories, of thresholds on one latent."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(2, int(labels.max()) + 1), class_weight="balanced", random_state=seed
    )
    right = tree.fit(fitted, labels).predict(held_out) == truth
    of_each = np.bincount(truth)
    present = of_each > 0
    return float((np.bincount(truth, right)[present] / of_each[present]).mean())


def _svm_accuracy(
    fitted: Floats, labels: Integers, held_out: Floats, truth: Integers, seed: int
) -> float:
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
    return float(machine.fit(fitted, labels).score(held_out, truth))
