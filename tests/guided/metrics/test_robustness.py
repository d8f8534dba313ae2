"""The interventional robustness score, value by value."""

import numpy as np
import pytest

from guided.metrics import irs


def test_it_is_the_definition_in_loops():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (400, 2))
    codes = np.column_stack(
        [factors[:, 0] + 0.3 * rng.normal(size=400), factors.sum(1), 0 * factors]
    )
    scores, weights = [], []
    for z in codes.T:
        largest = max(abs(z - z.mean()))
        robust = []
        for factor in factors.T:
            groups = [z[factor == value] for value in range(4)]
            moved = [np.percentile(abs(group - group.mean()), 99) for group in groups]
            robust.append(1 - np.mean(moved) / largest if largest else 0)
        scores.append(max(robust))
        weights.append(largest)
    assert irs(codes, factors) == pytest.approx(np.dot(scores, weights) / sum(weights))
    assert 0.2 < scores[1] < 0.8 < 0.8 * scores[0] + 0.4


def test_large_latents_count_more():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (400, 1))
    codes = np.column_stack([factors, rng.normal(size=400)])
    assert irs(codes * (1, 1e-6), factors) == pytest.approx(1, abs=1e-4)
    assert irs(codes * (1e-6, 1), factors) == pytest.approx(irs(codes[:, 1:], factors), abs=1e-4)
