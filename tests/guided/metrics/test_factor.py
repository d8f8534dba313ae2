"""Rank correlations, against scipy's."""

import numpy as np
from scipy.stats import spearmanr

from guided.metrics.factor import rank_correlation


def test_it_is_spearmans():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=200).round(1)  # with ties
    latents = np.stack([factor + rng.normal(size=200), rng.normal(size=200), -factor], 1).round(1)
    expected = [spearmanr(latent, factor).statistic for latent in latents.T]
    np.testing.assert_allclose(rank_correlation(latents, factor), expected, rtol=1e-12)


def test_what_is_monotonic_is_followed_wholly_and_what_is_constant_not_at_all():
    factor = np.random.default_rng(0).normal(size=50)
    latents = np.stack([np.exp(factor), -(factor**3), 0 * factor], 1).astype(np.float32)
    np.testing.assert_allclose(rank_correlation(latents, factor), [1, -1, 0])
    assert rank_correlation(latents, 0 * factor).tolist() == [0, 0, 0]
