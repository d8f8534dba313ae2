"""Intervals and the two-stage bootstrap, against scipy, formulas and plain loops."""

import numpy as np
import pytest
from scipy import stats

from fewshot.statistics import (
    ci95_over_episodes,
    ci95_over_seeds,
    paired_difference,
    t_interval,
    two_stage_bootstrap,
)


def nested(seeds=4, episodes=12, between=3.0, within=8.0, rng=0):
    """Errors with an effect for each seed: ``[seeds, episodes]``."""
    draw = np.random.default_rng(rng)
    effects = between * draw.standard_normal((seeds, 1))
    return 30 + effects + within * draw.standard_normal((seeds, episodes))


@pytest.mark.parametrize("n", [2, 3, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_t_interval_is_scipys(n, confidence):
    values = np.random.default_rng(n).normal(20, 4, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert t_interval(values, confidence) == pytest.approx((expected.low, expected.high))


def test_intervals_average_the_other_axis_first():
    """One value has no interval."""
    errors = nested()
    assert ci95_over_seeds(errors) == pytest.approx(t_interval(errors.mean(1)))
    assert ci95_over_episodes(errors) == pytest.approx(t_interval(errors.mean(0)))
    assert t_interval(np.array([3.0])) is ci95_over_seeds(errors[:1]) is None
    assert ci95_over_episodes(errors[:, :1]) is None


@pytest.mark.parametrize(("seeds", "episodes"), [(1, 10), (3, 8), (6, 40)])
def test_bootstrap_has_the_variance_of_its_formula(seeds, episodes):
    """Each of S drawn seeds adds a mean of E draws from its row, divided by S, independently.

    Var = (variance of the rows' means + mean of the rows' variances / E) / S, all with ddof 0.
    """
    values = nested(seeds, episodes)
    means = two_stage_bootstrap(values, seed=1, resamples=20_000)
    variance = (values.mean(1).var() + (values.var(1) / episodes).mean()) / seeds
    assert means.shape == (20_000,)
    assert means.var() == pytest.approx(variance, rel=0.04)
    standard_error = (variance / 20_000) ** 0.5
    assert means.mean() == pytest.approx(values.mean(), abs=4 * standard_error)


def test_bootstrap_has_the_distribution_of_a_plain_loop():
    values = nested(3, 7, between=6.0) ** 2 / 30  # skewed
    rng = np.random.default_rng(5)
    plain = []
    for _ in range(4000):
        rows = [values[rng.integers(3)] for _ in range(3)]
        plain.append(np.mean([[row[rng.integers(7)] for _ in range(7)] for row in rows]))
    means = two_stage_bootstrap(values, seed=0, resamples=4000)
    assert stats.ks_2samp(means, plain).pvalue > 0.01


def test_difference_has_the_sign_of_the_arm():
    baseline = nested()
    better = paired_difference(baseline - 6, baseline, seed=0)
    assert better.difference == pytest.approx(-6)
    assert better.ci95 == pytest.approx((-6, -6))
    assert better.relative_reduction == pytest.approx(600 / baseline.mean())
    worse, again, other = (paired_difference(1.1 * baseline, baseline, seed=s) for s in (0, 0, 1))
    assert worse.difference == pytest.approx(0.1 * baseline.mean())
    assert worse.relative_reduction == pytest.approx(-10)
    assert worse.ci95[0] > 0
    assert worse.ci95 == again.ci95 != other.ci95
    single = (baseline / 3).astype(np.float32)
    exact = (single.astype(np.float64) - baseline.astype(np.float32)).mean()
    thirds = paired_difference(single, baseline.astype(np.float32), seed=0)
    assert thirds.difference == pytest.approx(exact, abs=1e-12), "subtracted in float64"
    same = paired_difference(single, single, seed=0)
    assert (same.difference, same.ci95, same.relative_reduction) == (0.0, (0.0, 0.0), 0.0)
    assert paired_difference(baseline, 0 * baseline, seed=0).relative_reduction is None
    with pytest.raises(ValueError, match=r"\(4, 12\) with \(4, 11\)"):
        paired_difference(baseline, nested(episodes=11), seed=0)


def test_pairing_removes_what_the_episodes_share():
    """Hard episodes are hard for both arms: the paired interval does not see them."""
    draw = np.random.default_rng(0)
    hardness = 20 * draw.standard_normal((1, 200))
    baseline = 50 + hardness + draw.standard_normal((3, 200))
    arm = 49 + hardness + draw.standard_normal((3, 200))
    low, high = paired_difference(arm, baseline, seed=0).ci95
    assert high < 0
    unpaired_low, unpaired_high = ci95_over_episodes(arm)
    assert high - low < (unpaired_high - unpaired_low) / 10


def test_paired_interval_covers_the_truth():
    """300 studies of 20 seeds whose true difference is -2."""
    draw = np.random.default_rng(7)
    covered = 0
    for i in range(300):
        effect = -2 + 1.5 * draw.standard_normal((20, 1))
        arm = 40 + effect + 4 * draw.standard_normal((20, 15))
        low, high = paired_difference(arm, np.full((20, 15), 40.0), seed=i, resamples=200).ci95
        covered += low <= -2 <= high
    assert 0.91 <= covered / 300 <= 0.98
