"""Scores by mutual information, against scikit-learn's and formulas."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from guided.metrics import mig, modularity
from guided.metrics.factor_arrays import (
    as_categories,
    entropy,
    equal_width_bins,
    mutual_information,
)

GRID = np.stack(np.meshgrid(np.arange(10), np.arange(10)), -1).reshape(-1, 2)


def test_mutual_information_and_entropy_are_scikit_learns():
    rng = np.random.default_rng(0)
    categories = np.stack([rng.integers(0, v, 500) for v in (2, 7, 4)], 1)
    codes = categories[:, [1, 0, 2, 2]] + rng.normal(size=(500, 4))
    bins = equal_width_bins(codes, 12)
    assert bins.min(0).tolist() == [0] * 4 and bins.max(0).tolist() == [11] * 4
    for i, column in enumerate(codes.T):
        edges = np.histogram_bin_edges(column, 12)[1:-1]
        assert (bins[:, i] == np.digitize(column, edges)).all()
    expected = [[mutual_info_score(b, c) for c in categories.T] for b in bins.T]
    np.testing.assert_allclose(mutual_information(bins, categories), expected, rtol=1e-10)
    own = [mutual_info_score(c, c) for c in categories.T]
    np.testing.assert_allclose(entropy(categories), own, rtol=1e-10)


def test_the_gap_on_a_full_grid_is_exact():
    assert mig(GRID, GRID) == pytest.approx(1, abs=1e-12)
    third = np.column_stack([GRID, GRID[:, 0]])
    assert mig(third, GRID) == pytest.approx(0.5, abs=1e-12)
    assert mig(GRID[:, :1], GRID) == pytest.approx(0.5, abs=1e-12), "the other factor is not told"


def test_a_factor_that_is_mostly_at_its_lowest_has_two_values_at_least():
    factor = np.zeros((200, 1))
    factor[190:, 0] = np.linspace(1, 2, 10)
    assert np.unique(as_categories(factor)).tolist() == [0, 1]
    assert 0 < mig(factor + np.arange(200)[:, None] / 1e6, factor) <= 1


def test_independent_noise_has_the_bias_of_its_bins():
    """(B - 1) (V - 1) / (2 n) nats, with one latent, which has no rival."""
    rng = np.random.default_rng(0)
    n, values = 4000, 8
    scores = [mig(rng.random((n, 1)), rng.integers(0, values, (n, 1))) for _ in range(40)]
    expected = 19 * (values - 1) / (2 * n) / np.log(values)
    assert np.mean(scores) == pytest.approx(expected, rel=0.1)


def test_a_sum_of_factors_has_no_modularity_and_a_dead_latent_counts():
    assert modularity(GRID.sum(1, keepdims=True), GRID) == pytest.approx(0, abs=1e-12)
    assert modularity(GRID, GRID) == pytest.approx(1)
    dead = np.column_stack([GRID, np.ones(100), GRID.sum(1)])
    assert modularity(dead, GRID) == pytest.approx(0.5)


def test_modularity_is_that_of_the_squares():
    """One latent tells of the first factor in full, and of the second in part."""
    first, second = np.meshgrid(np.arange(2), np.arange(2))
    factors = np.stack([first, second], -1).reshape(-1, 2).repeat(3, 0)
    codes = factors[:, :1] + np.array([0, 0, 1] * 4)[:, None] * factors[:, 1:] * 0.5
    full, part = (mutual_info_score(codes[:, 0] * 2, factors[:, k]) for k in (0, 1))
    assert full == pytest.approx(np.log(2)) and part > 0.1
    assert modularity(codes, factors) == pytest.approx(1 - (part / full) ** 2)


def test_continuous_factors_are_divided_at_quantiles():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.exponential(size=1000), rng.integers(0, 3, 1000) / 2], 1)
    categories = as_categories(factors)
    assert np.bincount(categories[:, 0]).tolist() == [100] * 10
    assert (categories[:, 1] == 2 * factors[:, 1]).all(), "few values: each its own category"
    order = np.argsort(factors[:, 0])
    assert (np.diff(categories[order, 0]) >= 0).all()
    whole = np.stack([rng.permutation(1000), -rng.permutation(1000)], 1)
    assert as_categories(whole).max(0).tolist() == [999, 999], "whole numbers are categories"
    assert as_categories(whole, [False, True]).max(0).tolist() == [9, 999]
