"""SAP, against regressions and classifiers by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from guided.metrics import sap
from guided.metrics.factor_arrays import split


def mixed(n=600):
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 3, n), rng.integers(0, 2, n)], 1)
    return factors[:, [0, 1, 0]] * (1, -2, 0.4) + 0.4 * rng.normal(size=(n, 3)), factors


def test_numbers_are_scored_by_linear_regression_on_each_latent():
    codes, factors = mixed()
    factors = factors + 0.1
    gaps = []
    for factor in factors.T:
        fits = [
            LinearRegression().fit(z[:, None], factor).score(z[:, None], factor) for z in codes.T
        ]
        gaps.append(np.sort(fits)[-1] - np.sort(fits)[-2])
    assert sap(codes, factors) == pytest.approx(np.mean(gaps))


def by_hand(accuracy):
    """The mean gap of held-out accuracies."""
    codes, factors = mixed()
    train, test = split(len(codes), 0)
    gaps = []
    for factor in factors.T:
        scores = [accuracy(z[train], factor[train], z[test], factor[test]) for z in codes.T]
        gaps.append(np.sort(scores)[-1] - np.sort(scores)[-2])
    return sap(codes, factors), sap(codes, factors, classifier="svm"), np.mean(gaps)


def test_categories_are_scored_by_the_best_thresholds():
    """Two thresholds for three categories, by trying all pairs of 40 places."""

    def accuracy(z, labels, held_out, truth):
        cuts = np.quantile(z, np.linspace(0, 1, 41))
        best = (0.0, None)
        for i, low in enumerate(cuts):
            for high in cuts[i:]:
                part = (z > low).astype(int) + (z > high)
                shares = [
                    [(part[labels == v] == p).mean() for v in range(labels.max() + 1)]
                    for p in range(3)
                ]
                named = np.argmax(shares, axis=1)
                score = np.max(shares, axis=1).sum() / (labels.max() + 1)
                if score > best[0]:
                    best = (score, (low, high, named))
        low, high, named = best[1]
        return balanced_accuracy_score(
            truth, named[(held_out > low).astype(int) + (held_out > high)]
        )

    found, _, expected = by_hand(accuracy)
    assert found == pytest.approx(expected, abs=0.04)  # gini or accuracy, and 40 places


def test_the_support_vector_machine_is_that_of_disentanglement_lib():
    def accuracy(z, labels, held_out, truth):
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        return machine.fit(z[:, None], labels).score(held_out[:, None], truth)

    _, found, expected = by_hand(accuracy)
    assert found == pytest.approx(expected)


def test_a_linear_machine_cannot_tell_categories_in_the_middle():
    """On perfect codes of ten values; thresholds tell them all."""
    factors = np.random.default_rng(0).integers(0, 10, (2000, 2))
    assert sap(factors, factors) == pytest.approx(0.9, abs=0.03)  # chance is 0.1
    assert sap(factors, factors, classifier="svm") < 0.4
    assert sap(factors, factors, discrete=False) == pytest.approx(1, abs=0.01)
