"""A linear probe on data whose answer is known."""

import numpy as np
import pytest
from scipy.special import ndtr

from guided.metrics.probe import linear_probe_error, linear_probe_wrong


def blobs(rows=600, categories=4, spread=0.1, seed=0):
    """Category k around the k-th unit vector."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % categories
    return np.eye(categories)[labels] + spread * rng.normal(size=(rows, categories)), labels


def test_two_gaussians_are_read_at_the_bayes_error():
    """What is wrong lies on the other side of the middle between them."""
    labels = np.arange(40_000) % 2
    features = np.random.default_rng(0).normal(size=(40_000, 1)) + 2 * labels[:, None]
    bayes = 100 * ndtr(-1)  # half the distance of the means is one standard deviation: 15.9 %
    # 10,000 held-out rows: three standard errors are 1.1 points; 20,000: 0.8.
    assert linear_probe_error(features, labels, seed=0) == pytest.approx(bayes, abs=1.1)
    train, test = ((features[part], labels[part]) for part in np.split(np.arange(40_000), 2))
    wrong = linear_probe_wrong(train, test)
    assert wrong.shape == (20_000,) and wrong.dtype == bool
    assert 100 * wrong.mean() == pytest.approx(bayes, abs=0.8)
    assert (wrong != ((test[0][:, 0] > 1) != test[1])).mean() < 0.02


def test_the_same_seed_gives_the_same_number():
    features, labels = blobs(spread=0.8)
    errors = [linear_probe_error(features, labels, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert errors[0] == errors[1]
    assert len(set(errors)) > 1


def test_at_most_so_many_categories_are_drawn():
    """Two of forty categories, at random: chance rises from 97.5 to 50 % of error."""
    rng = np.random.default_rng(0)
    labels = np.arange(8000) % 40
    features = rng.normal(size=(8000, 2))
    how = {"max_categories": 2}
    errors = [linear_probe_error(features, labels, seed=seed, **how) for seed in range(3)]
    assert np.mean(errors) == pytest.approx(50, abs=9)  # 3 × 100 held-out rows
    assert linear_probe_error(features, labels, seed=0) > 90


def test_a_given_split_is_standardised_by_what_is_fitted():
    train, test = blobs(400, spread=0.6), blobs(200, spread=0.6, seed=1)
    wrong = linear_probe_wrong(train, test)
    factors = np.array([1e-4, 1, 1e4, 1])
    moved = linear_probe_wrong((train[0] * factors + 7, train[1]), (test[0] * factors + 7, test[1]))
    assert 0 < wrong.mean() < 0.5
    assert (moved == wrong).all()
    # One row at a time gives the same: no moment of the test rows is used.
    singly = [linear_probe_wrong(train, (test[0][i : i + 1], test[1][i : i + 1])) for i in range(9)]
    assert np.concatenate(singly).tolist() == wrong[:9].tolist()
