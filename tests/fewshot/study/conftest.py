"""The interval of crossed seeds and episodes from the variances of its margins."""

import math

import pytest
from scipy.stats import t


def margins_interval(values):
    """Student's intervals of both margins, that of episodes without its noise."""
    s, e = values.shape
    of_seed, of_episode = values.mean(1), values.mean(0)
    total = values.var() * s * e
    rest = total - s * e * (of_seed.var() + of_episode.var())
    noise = rest / ((s - 1) * (e - 1)) / (s * e)
    seeds = t.ppf(0.975, s - 1) ** 2 * of_seed.var(ddof=1) / s
    episodes = t.ppf(0.975, e - 1) ** 2 * max(of_episode.var(ddof=1) / e - noise, 0)
    half = math.sqrt(seeds + episodes)
    return values.mean() - half, values.mean() + half


@pytest.fixture(scope="session")
def crossed_interval():
    return margins_interval
