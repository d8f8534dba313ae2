"""The mean correlation coefficient, against all assignments and scipy."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from guided.metrics import matched_information, mcc
from guided.metrics.factor_arrays import split

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(2000, 3))


def test_order_sign_and_monotonic_maps_are_free():
    codes = np.column_stack([FACTORS[:, 2] ** 3, -np.exp(FACTORS[:, 0]), FACTORS[:, 1]])
    assert mcc(codes, FACTORS) == pytest.approx(1)
    assert mcc(codes, FACTORS, correlation="pearson") < 0.95
    assert mcc(-5 * FACTORS[:, [1, 2, 0]] + 3, FACTORS, correlation="pearson") == pytest.approx(1)


@pytest.mark.parametrize(("name", "of_two"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_it_is_the_best_of_all_assignments_on_the_other_half(name, of_two):
    codes = FACTORS @ RNG.normal(size=(3, 4)) + RNG.normal(size=(2000, 4))
    chosen, scored = (
        np.array([[abs(of_two(z, v).statistic) for v in FACTORS[half].T] for z in codes[half].T])
        for half in split(2000, 7, 0.5)
    )
    best = max(permutations(range(4), 3), key=lambda p: sum(chosen[p, range(3)]))
    expected = scored[best, range(3)].mean()
    assert mcc(codes, FACTORS, seed=7, correlation=name) == pytest.approx(expected)


def test_a_choice_among_many_useless_latents_gains_nothing():
    """In 50 rows the best of 200 has a correlation of 0.4."""
    scores = [mcc(RNG.normal(size=(50, 200)), FACTORS[:50], seed=s) for s in range(20)]
    of_one = np.sqrt(2 / np.pi / 24)  # mean absolute correlation of 25 independent pairs
    assert np.mean(scores) == pytest.approx(of_one, abs=0.04)


def test_rotations_of_two_factors_still_score_high():
    """(4/π) sin(π/4) = 0.900 on average, of independent factors of equal variance."""
    angles = np.linspace(0, np.pi / 2, 31)
    turned = [[[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in angles]
    scores = [mcc(FACTORS[:, :2] @ turn, FACTORS[:, :2], correlation="pearson") for turn in turned]
    assert np.trapezoid(scores, angles) / angles[-1] == pytest.approx(0.9, abs=0.01)


def test_factors_without_a_latent_count_as_nothing():
    assert mcc(FACTORS[:, :2], FACTORS) == pytest.approx(2 / 3)


def test_information_of_matched_latents_is_that_of_gaussians():
    """-log(1 - ρ²) / 2; order, sign and invertible maps of the latents are free."""
    correlations = np.array([0.9, 0.6, 0.0])
    noise = RNG.normal(size=(3000, 3))
    sources = RNG.normal(size=(3000, 3))
    codes = correlations * sources + np.sqrt(1 - correlations**2) * noise
    expected = np.mean(-0.5 * np.log(1 - correlations**2))
    assert matched_information(codes, sources) == pytest.approx(expected, abs=0.04)
    moved = np.column_stack([np.exp(-codes[:, 1]), codes[:, 2], codes[:, 0] ** 3])
    assert matched_information(moved, sources) == pytest.approx(expected, abs=0.04)
    assert matched_information(codes[:, :1], sources) == pytest.approx(0.83 / 3, abs=0.03)
