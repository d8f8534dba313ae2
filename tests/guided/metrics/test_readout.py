"""Explicitness, against areas under the curve by their definition."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from guided.metrics import explicitness
from guided.metrics.factor_arrays import split


def test_it_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 3, 300), rng.integers(0, 2, 300)], 1)
    codes = (factors + rng.normal(size=(300, 2))) * (1, 100)
    train, test = split(300, seed=4)
    spread = codes[train].std(0)
    areas = []
    for factor in factors.T:
        model = LogisticRegression(max_iter=1000).fit(codes[train] / spread, factor[train])
        told = model.predict_proba(codes[test] / spread)
        of_values = []
        for value, column in enumerate(told.T):
            own, other = column[factor[test] == value], column[factor[test] != value]
            of_values.append((own[:, None] > other).mean())
        areas.append(np.mean(of_values))
    assert 0.7 < np.mean(areas) < 0.9
    assert explicitness(codes, factors, seed=4) == pytest.approx(np.mean(areas), abs=1e-3)


def test_a_value_that_is_seen_once_is_left_out():
    factors = np.r_[np.tile([0, 1], 50), 2][:, None]
    for seed in range(3):  # held out or not
        assert 0.9 < explicitness(factors, factors, seed) <= 1
