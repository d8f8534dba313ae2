"""Intervals and paired comparisons: pure functions of arrays of per-episode errors.

Everywhere ``errors`` is ``[seeds, episodes]``, in percent, and the episodes are the same list for
every seed and every arm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.floating]
Interval = tuple[float, float]


def ci95_over_seeds(errors: Errors) -> Interval | None:
    """Student's t interval for the mean error of a new seed; None for fewer than two seeds."""
    return t_interval(errors.mean(1))


def ci95_over_episodes(errors: Errors) -> Interval | None:
    """Student's t interval over episodes, each averaged over the seeds that were run.

    It tells how well the episodes determine the error of these encoders, and nothing about other
    seeds.
    """
    return t_interval(errors.mean(0))


def t_interval(values: NDArray[np.floating], confidence: float = 0.95) -> Interval | None:
    """Student's t interval for the mean of independent values ``[n]``; None when n < 2."""
    if len(values) < 2:
        return None
    from scipy.stats import sem, t

    # Not t.interval, which is NaN for values that are all the same.
    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1) * sem(values))
    centre = float(values.mean())
    return centre - half, centre + half


@dataclass(frozen=True)
class PairedDifference:
    """The difference between the errors of two arms on the same episodes.

    Attributes:
        difference: mean of (arm - baseline), percentage points; negative if the arm is better.
        ci95: bootstrap interval, over seeds and then over episodes within a seed.
        relative_reduction: (baseline - arm) / baseline, in percent; None if the baseline makes
            no error.
    """

    difference: float
    ci95: Interval
    relative_reduction: float | None


def paired_difference(
    arm: Errors, baseline: Errors, *, seed: int, resamples: int = 2000
) -> PairedDifference:
    """Compare two arms seed by seed and episode by episode.

    Source: the two-stage bootstrap for nested data, Davison & Hinkley (1997), §3.8; percentile
    interval. The outer resampling knows only the seeds that were run: with few of them the
    interval is too narrow, so reports state their number.

    Args:
        arm, baseline: ``[seeds, episodes]``, the same seeds and episodes in the same order.
        seed: of the resampling.
        resamples: number of bootstrap draws.

    Raises:
        ValueError: the shapes differ.
    """
    if arm.shape != baseline.shape:
        raise ValueError(f"cannot pair errors {arm.shape} with {baseline.shape}")
    differences = arm.astype(np.float64) - baseline
    means = two_stage_bootstrap(differences, seed=seed, resamples=resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    base = float(baseline.mean())
    change = float(differences.mean())
    return PairedDifference(
        change, (float(low), float(high)), -100 * change / base if base > 0 else None
    )


def two_stage_bootstrap(
    values: NDArray[np.float64], *, seed: int, resamples: int
) -> NDArray[np.float64]:
    """Means ``[resamples]`` of bootstrap draws from nested values ``[seeds, episodes]``.

    The number of times that each episode is drawn with replacement is multinomial. Drawing these
    counts makes the mean one product, without an index array of resamples × seeds × episodes.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_episodes = values.shape
    uniform = np.full(n_episodes, 1 / n_episodes)
    means = np.empty(resamples)
    for i in range(resamples):
        chosen = rng.integers(n_seeds, size=n_seeds)
        counts = rng.multinomial(n_episodes, uniform, size=n_seeds)
        means[i] = (values[chosen] * counts).sum() / (n_seeds * n_episodes)
    return means
