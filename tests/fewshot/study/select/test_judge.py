"""What a choice costs, where it is known, and rank correlations beside scipy's."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fewshot.study.select.judge import bootstrap_interval, judge, ranks

nan = np.nan


def judged(score, outcome, **settings):
    settings = {"lower_is_better": True} | settings
    return judge(("score", "outcome"), np.array(score), np.array(outcome), **settings)


def test_the_highest_score_is_chosen_and_its_regret_is_to_the_best_of_all():
    found = judged([0.1, 0.9, nan, 0.5], [30.0, 24, 20, 22])
    assert (found.chosen, found.value, found.best, found.regret) == (1, 24, 20, 4)
    assert found.random_regret == pytest.approx(4)
    assert found.encoders == 3
    assert found.correlation == pytest.approx(-0.5)
    upwards = judged([0.1, 0.9, nan, 0.5], [30.0, 24, 20, 22], lower_is_better=False)
    assert (upwards.chosen, upwards.best, upwards.regret) == (1, 30, 6)


def test_an_unknown_outcome_cannot_be_chosen():
    found = judged([0.9, 0.5, 0.1], [nan, 24, 20])
    assert (found.chosen, found.regret, found.encoders) == (1, 4, 2)
    assert judged([nan, nan, 1], [3, 2, nan]) is None


def test_a_constant_score_has_no_correlation():
    found = judged([0.5] * 6, range(6))
    assert (found.chosen, found.correlation, found.ci95) == (0, None, None)


def test_the_correlation_is_scipys_and_the_interval_that_of_resampled_encoders():
    rng = np.random.default_rng(0)
    score = rng.integers(4, size=15).astype(float)  # with ties
    outcome = rng.normal(size=15) - score
    found = judged(score, outcome)
    assert found.correlation == pytest.approx(spearmanr(score, outcome)[0])
    again = []
    for _ in range(1000):
        rows = rng.integers(15, size=15)
        again.append(spearmanr(score[rows], outcome[rows])[0])
    expected = np.quantile(again, [0.025, 0.975])
    assert found.ci95 == pytest.approx(expected, abs=0.08)
    assert bootstrap_interval(score[:4], outcome[:4], 0) is None


def test_ranks_of_ties_and_of_nothing():
    assert ranks(np.array([0.2, nan, 0.9, 0.2])) == [2, None, 1, 2]
