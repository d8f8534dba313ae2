"""Batches in which one factor is fixed, and the scores that are made of them."""

import numpy as np
import pytest

from guided.metrics import (
    beta_vae_score,
    factor_vae_score,
    made_with_fixed_factor,
    rows_with_fixed_factor,
)


def test_rows_of_a_batch_share_one_factor():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 4, 500), rng.normal(size=500)], 1)
    sample = rows_with_fixed_factor(factors, factors, factor_bins=5)
    drawn = sample(0, 300, 20, rng)
    assert drawn.shape == (300, 20, 2)
    assert (np.ptp(drawn[..., 0], axis=1) == 0).all()
    shares = np.bincount(drawn[:, 0, 0].astype(int)) / 300
    np.testing.assert_allclose(shares, np.bincount(factors[:, 0].astype(int)) / 500, atol=0.08)
    assert (np.ptp(drawn[..., 1], axis=1) > 0.5).all()
    edges = np.quantile(factors[:, 1], [0.2, 0.4, 0.6, 0.8])
    bins = np.searchsorted(edges, sample(1, 300, 20, rng)[..., 1], side="right")
    assert (np.ptp(bins, axis=1) == 0).all() and set(bins[:, 0]) == set(range(5))
    free = sample(None, 50, 200, rng)
    assert free.reshape(-1, 2).mean(0) == pytest.approx(factors.mean(0), abs=0.1)


def test_made_batches_share_one_factor_and_draw_the_others():
    numbers = []

    def codes_of(drawn):
        numbers.append(drawn)
        return drawn * 0.5

    sample = made_with_fixed_factor([3, 4, 50], codes_of)
    drawn = sample(1, 400, 30, np.random.default_rng(0))
    assert (drawn == numbers[0].reshape(400, 30, 3) / 2).all()
    assert (np.ptp(drawn[..., 1], axis=1) == 0).all() and np.ptp(drawn[..., 0], axis=1).all()
    np.testing.assert_allclose(np.bincount((2 * drawn[:, 0, 1]).astype(int)) / 400, 0.25, atol=0.07)
    free = sample(None, 2, 5000, np.random.default_rng(0)) * 2
    np.testing.assert_allclose(free.mean((0, 1)), [1, 1.5, 24.5], rtol=0.03)
    perfect = made_with_fixed_factor([3, 4, 50], lambda drawn: -drawn[:, ::-1])
    assert factor_vae_score(perfect, 3, votes=300) == 1
    assert beta_vae_score(perfect, 3, points=300) > 0.97


def sampler(code, n_factors=3, seen=None):
    """Codes of standard normal factors."""

    def sample(factor, batches, size, rng):
        factors = rng.normal(size=(batches, size, n_factors))
        if factor is not None:
            factors[..., factor] = factors[:, :1, factor]
        if seen is not None:
            seen.append((factor, batches, size))
        return code(factors)

    return sample


def test_a_code_without_one_factor_deceives_the_first_score_alone():
    """Kim & Mnih (2018), §4: the last factor is what makes no latent agree."""
    lacking = sampler(lambda factors: factors[..., :2])
    assert beta_vae_score(lacking, 3) > 0.99
    assert factor_vae_score(lacking, 3) < 0.75


def test_a_rotation_of_all_factors_deceives_neither_much():
    whole = np.ones((4, 4)) / 2 - np.eye(4)  # orthogonal, all entries of the same size
    turned = sampler(lambda factors: factors @ whole, 4)
    assert factor_vae_score(turned, 4) < 0.5
    assert factor_vae_score(sampler(lambda factors: factors, 4), 4) == 1


def test_votes_are_those_of_a_loop():
    """With the same draws: variance over variance, a table of majorities, the other votes."""

    def code(factors):
        mix = np.array([[1, 0.9, 0, 0], [0, 0.5, 1, 0], [0.3, 0, 0.9, 0]])
        return factors @ mix + 0.01 * (factors[..., :1] > 0) * (0, 0, 0, 1)

    rng = np.random.default_rng(5)
    fixed = rng.integers(3, size=300)
    sample = sampler(code)
    spread = sample(None, 1, 10_000, rng)[0].std(0)
    assert spread[3] < 0.05, "the last latent is dead"
    latents = {}
    for k in range(3):
        for point, batch in zip(
            np.flatnonzero(fixed == k), sample(k, int(sum(fixed == k)), 64, rng), strict=True
        ):
            latents[point] = min(range(3), key=lambda i: np.var(batch[:, i] / spread[i]))
    majority = {}
    for latent in range(3):
        votes = [fixed[i] for i in range(200) if latents[i] == latent]
        majority[latent] = max(range(3), key=votes.count)
    right = [majority[latents[i]] == fixed[i] for i in range(200, 300)]
    assert 0.5 < np.mean(right) < 1
    assert factor_vae_score(sample, 3, seed=5, votes=300) == pytest.approx(np.mean(right))


def test_dead_latents_do_not_vote():
    """A latent of tiny, unrelated noise would agree with itself by chance."""
    rng = np.random.default_rng(0)

    def with_dead(factors):
        dead = 1e-4 * rng.normal(size=factors.shape[:2]) ** 3
        return np.concatenate([factors, dead[..., None]], 2)

    assert factor_vae_score(sampler(with_dead), 3) == 1
    assert factor_vae_score(sampler(lambda f: 0.01 * f), 3) == 0
    assert factor_vae_score(sampler(lambda f: 0.01 * f), 3, dead=0) == 1


def test_differences_are_means_over_pairs_that_share_a_factor():
    seen = []
    assert beta_vae_score(sampler(lambda f: f, seen=seen), 3, points=90) == 1
    assert [factor for factor, _, _ in seen] == [0, 1, 2]
    assert sum(batches for _, batches, _ in seen) == 90 * 64
    assert {size for _, _, size in seen} == {2}
