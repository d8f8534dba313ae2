"""Intervals against simulations, scipy, formulas and plain loops."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from fewshot.statistics import (
    Crossed,
    class_variance,
    new_classes_interval,
    paired_difference,
    stand_after_holm,
    t_interval,
    t_p_value,
)
from guided.errors import InputError

SIMULATIONS = 2000
EPISODES = 200


def errors(n_seeds=4, n_episodes=12, seed=3.0, episode=5.0, rest=8.0, rng=0):
    """Errors with an effect of each seed and of each episode: ``[seeds, episodes]``."""
    draw = np.random.default_rng(rng)
    values = 30 + rest * draw.standard_normal((n_seeds, n_episodes))
    values += seed * draw.standard_normal((n_seeds, 1))
    return values + episode * draw.standard_normal((1, n_episodes))


def normal(seed, episode, rest):
    """Deviations from the true mean, with effects given as for 1,000 episodes."""
    scale = (EPISODES / 1000) ** 0.5

    def draw(rng, n_seeds):
        values = scale * rest * rng.standard_normal((n_seeds, EPISODES))
        values += seed * rng.standard_normal((n_seeds, 1))
        return values + scale * episode * rng.standard_normal((1, EPISODES))

    return draw


def skewed(rng, n_seeds):
    values = 4 * (rng.exponential(size=(n_seeds, EPISODES)) - 1) + rng.standard_normal((n_seeds, 1))
    return values + 4 * (rng.exponential(size=(1, EPISODES)) - 1)


def counts(*log_odds, episode=1.0, seed=0.15):
    """Wrong ones of 75 queries: of an arm, or of the first less the second."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = np.hypot(episode, seed) * nodes
    means = [expit(odds + spread) @ weights / weights.sum() for odds in log_odds]
    truth = 75 * (means[0] - sum(means[1:]))

    def draw(rng, n_seeds):
        hard = episode * rng.standard_normal((1, EPISODES))
        arms = [
            rng.binomial(75, expit(odds + hard + seed * rng.standard_normal((n_seeds, 1))))
            for odds in log_odds
        ]
        return arms[0] - sum(arms[1:]) - truth

    return draw


MODELS = {
    "seeds dominate": normal(1, 5, 8),
    "seeds do not differ": normal(0, 5, 8),
    "episodes dominate": normal(0.3, 10, 5),
    "paired counts": counts(-5.1, -4.4),
    "counts near zero": counts(-7.4),
    "skewed": skewed,
}


def coverage(model, n_seeds, interval):
    """Percent of simulations in which the interval holds the true mean, 0."""
    rng = np.random.default_rng(n_seeds)
    ends = np.array([interval(model(rng, n_seeds)) for _ in range(SIMULATIONS)])
    return 100 * ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()


def crossed_interval(values):
    return Crossed.of(values).interval


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("n_seeds", [3, 5])
def test_interval_covers_the_truth(model, n_seeds):
    assert 93.5 <= coverage(model, n_seeds, crossed_interval) <= 99


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_interval_of_ten_seeds_covers_the_truth(model):
    assert 94 <= coverage(model, 10, crossed_interval) <= 97


def test_t_over_seeds_alone_does_not():
    """It takes what all seeds share for certain."""
    alone = coverage(MODELS["episodes dominate"], 10, lambda values: t_interval(values.mean(1)))
    assert alone < 75


@pytest.mark.parametrize("n", [2, 3, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_t_interval_is_scipys(n, confidence):
    values = np.random.default_rng(n).normal(20, 4, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert t_interval(values, confidence) == pytest.approx((expected.low, expected.high))


def test_t_p_value_is_scipys():
    values = np.random.default_rng(0).normal(0.4, 1, 7)
    assert t_p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert (t_p_value(values[:1]), t_p_value(np.zeros(3)), t_p_value(np.ones(3))) == (None, 1, 0)


def test_t_interval_of_one_value_or_of_single_precision():
    assert t_interval(np.array([3.0])) is None
    single = errors(1, 500).astype(np.float32)[0]
    assert t_interval(single) == pytest.approx(t_interval(single.astype(np.float64)), rel=1e-12)


def test_seeds_that_agree_leave_t_over_episodes():
    same = np.repeat(errors(1), 3, 0)
    assert Crossed.of(same).interval == pytest.approx(t_interval(same[0]))


def test_episodes_that_share_nothing_leave_t_over_seeds():
    values = errors(rng=1)
    values += values.mean() - values.mean(0)
    assert Crossed.of(values).interval == pytest.approx(t_interval(values.mean(1)))


def test_one_seed_leaves_t_over_episodes():
    values = errors(1)
    assert Crossed.of(values).interval == pytest.approx(t_interval(values[0]))
    assert Crossed.of(values).seeds_for(1.0) is None
    with pytest.raises(InputError, match="at least 2 episodes, got 1"):
        Crossed.of(values[:, :1])


def test_mean_squares_are_those_of_plain_loops():
    values = 100 + errors(3, 5)
    seeds, episodes = range(3), range(5)
    mean = sum(values[s, e] for s in seeds for e in episodes) / 15
    of_seed = [sum(values[s, e] for e in episodes) / 5 for s in seeds]
    of_episode = [sum(values[s, e] for s in seeds) / 3 for e in episodes]
    ms_seed = 5 * sum((m - mean) ** 2 for m in of_seed) / 2
    ms_episode = 3 * sum((m - mean) ** 2 for m in of_episode) / 4
    rest = [values[s, e] - of_seed[s] - of_episode[e] + mean for s in seeds for e in episodes]
    ms_rest = sum(r**2 for r in rest) / 8
    found = Crossed.of(values)
    assert (found.mean, found.ms_seed) == pytest.approx((mean, ms_seed))
    assert (found.ms_episode, found.ms_rest) == pytest.approx((ms_episode, ms_rest))
    shared = max(ms_episode - ms_rest, 0)
    assert shared > 0, "the test is of both terms"
    squared = (stats.t.ppf(0.975, 2) ** 2 * ms_seed + stats.t.ppf(0.975, 4) ** 2 * shared) / 15
    assert found.half_width() == pytest.approx(squared**0.5)


@pytest.mark.parametrize("n_seeds", [2, 3, 10])
@pytest.mark.parametrize("mean", [-60.0, -4.0, 0.3, 2.0])
def test_interval_at_one_less_the_p_value_touches_zero(n_seeds, mean):
    values = errors(n_seeds)
    crossed = Crossed.of(values - values.mean() + mean)
    assert 1e-12 < crossed.p_value < 1
    assert crossed.half_width(1 - crossed.p_value) == pytest.approx(abs(mean), rel=1e-3)
    assert (crossed.p_value < 0.05) == (crossed.half_width() < abs(mean))


def test_p_value_of_one_seed_is_scipys():
    for shift in (29.0, 25.0, 0.0):
        values = errors(1) - shift
        expected = stats.ttest_1samp(values[0], 0).pvalue
        assert Crossed.of(values).p_value == pytest.approx(expected)


def test_p_values_of_constants_and_of_no_difference():
    assert Crossed.of(np.zeros((3, 5))).p_value == 1
    assert Crossed.of(np.full((3, 5), 0.1)).p_value == 0
    assert Crossed.of(np.full((1, 5), -2.0)).p_value == 0
    nearly = Crossed.of(np.array([[0.1, 0.2, -0.3]]))
    assert nearly.mean != 0, "the test is of rounding"
    assert nearly.p_value == pytest.approx(1)


@pytest.mark.parametrize("wanted", [40.0, 4.0, 2.5])
def test_number_of_seeds_for_a_width(wanted):
    crossed = Crossed.of(errors(n_episodes=100))
    n = crossed.seeds_for(wanted)
    assert crossed.half_width(n_seeds=n) <= wanted
    assert n == 2 or crossed.half_width(n_seeds=n - 1) > wanted
    assert crossed.half_width(n_seeds=4) == crossed.half_width()


def test_no_number_of_seeds_replaces_episodes():
    crossed = Crossed.of(errors(seed=0.1, episode=20.0))
    assert crossed.seeds_for(crossed.half_width() / 2) is None


# Classes.


def classes_of(rng, n_episodes, n_classes, n_way):
    numbers = np.tile(np.arange(n_classes), (n_episodes, 1))
    return rng.permuted(numbers, axis=1)[:, :n_way]


def noise_of(means, n_classes, n_way):
    share = n_way / n_classes
    return (n_classes - 1) * means.var(ddof=1) / len(means) * share / (1 - share)


def test_class_variance_deletes_each_class():
    rng = np.random.default_rng(0)
    classes = classes_of(rng, 60, 7, 3)
    values = errors(2, 60) + (20 * rng.standard_normal(7))[classes].mean(1)
    means = values.mean(0)
    deleted = []
    for c in range(7):
        kept = [means[e] for e in range(60) if c not in classes[e]]
        deleted.append(sum(kept) / len(kept))
    jackknife = 6 / 7 * sum((d - sum(deleted) / 7) ** 2 for d in deleted)
    expected = jackknife - noise_of(means, 7, 3)
    assert expected > 0
    assert class_variance(values, classes, 7) == pytest.approx(expected)


def test_class_variance_of_all_sets_of_classes_is_that_of_the_mean_of_classes():
    """Without noise, and each set once, nothing but the classes' own effects is left."""
    classes = np.array(list(combinations(range(7), 3)))
    effects = np.random.default_rng(0).normal(20, 5, 7)
    means = effects[classes].mean(1)
    with_noise = class_variance(means[None], classes, 7) + noise_of(means, 7, 3)
    assert with_noise == pytest.approx(effects.var(ddof=1) / 7)


def test_class_variance_is_none_where_a_class_cannot_be_left_out():
    values = errors(2, 4)
    assert class_variance(values, np.array([[0, 1], [0, 2], [1, 0], [2, 0]]), 3) is None
    whole = np.tile(np.arange(3), (4, 1))
    assert class_variance(values, whole, 3) is None
    assert new_classes_interval(Crossed.of(values), values, whole, 3) is None
    with pytest.raises(ValueError, match="class 3 is not one of 3"):
        class_variance(values, whole + 1, 3)


def test_class_variance_is_zero_where_noise_is_larger():
    classes = np.array(list(combinations(range(5), 2)))
    same = np.tile([1.0, -1.0], 5)
    assert class_variance(same[None], classes, 5) == 0


def test_interval_for_new_classes_covers_and_the_plain_one_does_not():
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(500):
        classes = classes_of(rng, EPISODES, 20, 5)
        values = normal(0.3, 5, 8)(rng, 3) + (10 * rng.standard_normal(20))[classes].mean(1)
        crossed = Crossed.of(values)
        further = new_classes_interval(crossed, values, classes, 20)
        held += [low <= 0 <= high for low, high in (crossed.interval, further)]
    plain, new = held / 5
    assert plain < 75
    assert 92 <= new <= 99


# Comparisons.


def test_holms_worked_example():
    """Of four at 5 %: 0.005 <= 1.25 %, 0.01 <= 1.67 %, 0.03 > 2.5 %, where it stops."""
    assert stand_after_holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert stand_after_holm([]) == []


@pytest.mark.parametrize("rng", range(20))
def test_holm_is_a_plain_loop(rng):
    p_values = np.random.default_rng(rng).uniform(0, 0.03, 8)
    expected, remaining = [False] * 8, 8
    for i in sorted(range(8), key=lambda i: p_values[i]):
        if p_values[i] > 0.05 / remaining:
            break
        expected[i], remaining = True, remaining - 1
    assert stand_after_holm(p_values.tolist()) == expected


def test_difference_has_the_sign_of_the_arm():
    baseline = errors()
    better = paired_difference(baseline - 6, baseline)
    assert better.crossed.mean == pytest.approx(-6)
    assert better.crossed.interval == pytest.approx((-6, -6))
    assert better.relative_reduction == pytest.approx(600 / baseline.mean())
    worse = paired_difference(1.1 * baseline, baseline)
    assert worse.crossed.mean == pytest.approx(0.1 * baseline.mean())
    assert worse.relative_reduction == pytest.approx(-10)
    assert paired_difference(baseline, 0 * baseline).relative_reduction is None
    same = paired_difference(baseline, baseline)
    assert (same.crossed.mean, same.relative_reduction, same.crossed.p_value) == (0, 0, 1)
    with pytest.raises(ValueError, match=r"\(4, 12\) with \(4, 11\)"):
        paired_difference(baseline, errors(n_episodes=11))


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_difference_is_taken_in_double_precision(kind):
    arm, baseline = ((errors().clip(0) / n).astype(kind) for n in (3, 1))
    exact = Crossed.of(arm.astype(np.float64) - baseline.astype(np.float64))
    assert paired_difference(arm, baseline).crossed == exact


def test_pairing_removes_what_the_episodes_share():
    """Hard episodes are hard for both arms: the paired interval does not see them."""
    draw = np.random.default_rng(0)
    hardness = 20 * draw.standard_normal((1, 200))
    baseline = 50 + hardness + draw.standard_normal((3, 200))
    arm = 49 + hardness + draw.standard_normal((3, 200))
    paired = paired_difference(arm, baseline).crossed
    assert paired.interval[1] < 0
    assert paired.half_width() < Crossed.of(arm).half_width() / 5
