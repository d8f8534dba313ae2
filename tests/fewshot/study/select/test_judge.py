"""What a choice costs, where it is known, and rank correlations beside scipy's."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fewshot.study.select.judge import judge, percentiles, ranks, resampled, spearman

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


def test_the_correlation_is_scipys_and_the_intervals_those_of_arms_and_seeds_drawn_anew():
    rng = np.random.default_rng(0)
    arms = np.repeat(np.arange(8), [1, 2, 3, 3, 3, 3, 1, 2])
    effects = rng.normal(size=8)[arms]
    score = (2 * effects + rng.normal(size=18)).round()  # with ties
    outcome = rng.normal(size=18) - effects
    found = judged(score, outcome, arms=arms.tolist())
    assert found.correlation == pytest.approx(spearmanr(score, outcome)[0])
    again, regrets = [], []
    for _ in range(700):
        drawn = [np.flatnonzero(arms == arm) for arm in rng.integers(8, size=8)]
        rows = np.concatenate([rng.choice(seeds, len(seeds)) for seeds in drawn])
        again.append(spearmanr(score[rows], outcome[rows])[0])
        first = rows[np.lexsort((rows, -score[rows]))[0]]
        regrets.append(outcome[first] - outcome[rows].min())
    assert found.ci95 == pytest.approx(np.quantile(again, [0.025, 0.975]), abs=0.1)
    assert found.regret_ci95 == pytest.approx(np.quantile(regrets, [0.025, 0.975]), abs=0.15)
    few = arms < 4
    assert judged(score[few], outcome[few], arms=arms[few].tolist()).ci95 is None
    # Encoders that are not known to be alike have the narrower interval.
    assert np.diff(judged(score, outcome).ci95) < 0.9 * np.diff(found.ci95)


def test_the_best_of_a_sample_may_be_an_encoder_without_the_score():
    rng = np.random.default_rng(0)
    score, outcome = rng.normal(size=24), 50 + rng.normal(size=24)
    score[:3], outcome[:3] = nan, 20 + rng.random(3)
    found = judged(score, outcome, arms=np.repeat(np.arange(8), 3).tolist())
    low, high = found.regret_ci95
    assert low <= found.regret <= high
    assert high > 25, "most samples hold the arm without a score"


def test_the_interval_covers_where_seeds_of_an_arm_are_alike():
    """Neither score nor error differ between seeds: drawing encoders would be too narrow."""
    rng = np.random.default_rng(0)
    arms = np.repeat(np.arange(10), 3)
    held = {"both": 0, "encoders": 0}
    for i in range(100):
        score, error = rng.normal(size=(2, 10))[:, arms]
        for kind, of_arm in (("both", arms), ("encoders", np.arange(30))):
            counts = resampled(of_arm.tolist(), i, 200)
            low, high = percentiles(spearman(score, error, counts))
            held[kind] += low <= 0 <= high
    assert held["both"] > 0.88 * 100 > 0.84 * 100 > held["encoders"]


def test_ranks_of_ties_and_of_nothing():
    assert ranks(np.array([0.2, nan, 0.9, 0.2])) == [2, None, 1, 2]
