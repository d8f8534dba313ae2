"""Intervals and paired comparisons: pure functions of errors ``[seeds, episodes]``.

Every seed is tested on the same list of episodes, so the design is crossed: an error is a mean,
an effect of its seed, an effect of its episode, and a rest. ``docs/statistics.md`` explains the
interval and shows its coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError

Errors = NDArray[np.floating]
Interval = tuple[float, float]

CONFIDENCE = 0.95
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Crossed:
    """The mean of crossed data ``y[s, e]``, its components of variance, and its interval.

    Source: the mean squares of the two-way layout with one observation a cell (Searle, Casella &
    McCulloch 1992, *Variance Components*, ch. 4); the interval joins the two margins' Student
    intervals by the root of their sum of squares, as Howe (1974), JASA 69, 789-794, and the MOVER
    of Zou & Donner (2008), Statistics in Medicine 27, 1693-1702, do.

    ``half² = (t²(S-1) MS_seed + t²(E-1) max(MS_episode - MS_rest, 0)) / (S E)``

    With one seed only episodes vary: Student's t over episodes, which says nothing about other
    seeds.

    Attributes:
        mean: of all values.
        n_seeds, n_episodes: S, E.
        ms_seed, ms_episode, ms_rest: mean squares; those that need several seeds are 0 for one.
    """

    mean: float
    n_seeds: int
    n_episodes: int
    ms_seed: float
    ms_episode: float
    ms_rest: float

    @classmethod
    def of(cls, values: Errors) -> "Crossed":
        """The components of values ``[seeds, episodes]``.

        Raises:
            InputError: fewer than two episodes.
        """
        values = np.asarray(values, np.float64)
        n_seeds, n_episodes = values.shape
        if n_episodes < 2:
            raise InputError(f"an interval needs at least 2 episodes, got {n_episodes}")
        mean = values.mean()
        # Not about 0: squares of errors around 50 % would cancel against the square of the mean.
        centred = values - mean
        of_seed, of_episode = centred.mean(1), centred.mean(0)
        ms_episode = n_seeds * (of_episode @ of_episode) / (n_episodes - 1)
        ms_seed = ms_rest = 0.0
        if n_seeds > 1:
            ms_seed = n_episodes * (of_seed @ of_seed) / (n_seeds - 1)
            rest = centred - of_seed[:, None] - of_episode
            ms_rest = np.square(rest).sum() / ((n_seeds - 1) * (n_episodes - 1))
        return cls(
            float(mean), n_seeds, n_episodes, float(ms_seed), float(ms_episode), float(ms_rest)
        )

    @property
    def episode_variance(self) -> float:
        """Variance of the effect that all seeds share; with one seed, of single values."""
        return max(self.ms_episode - self.ms_rest, 0.0) / self.n_seeds

    def half_width(self, confidence: float = CONFIDENCE, n_seeds: int | None = None) -> float:
        """Half of the interval's width.

        Args:
            confidence: in (0, 1).
            n_seeds: predict the width for another number of seeds, at least 2, with the same
                components.
        """
        return self._half_width(1 - confidence, n_seeds or self.n_seeds)

    def _half_width(self, outside: float, n_seeds: int) -> float:
        """Half of the width that leaves a probability outside."""
        squared = t_quantile(outside, self.n_episodes - 1) ** 2 * self.episode_variance
        if n_seeds > 1:
            squared += t_quantile(outside, n_seeds - 1) ** 2 * self.ms_seed / n_seeds
        return math.sqrt(squared / self.n_episodes)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the mean."""
        return around(self.mean, self.half_width())

    @cached_property
    def p_value(self) -> float:
        """Two-sided, of a mean of 0: 1 less the confidence at which the interval touches 0.

        Less than 1e-15 is given as 0.
        """
        from scipy.optimize import brentq

        def excess(log_p: float) -> float:
            return self._half_width(math.exp(log_p), self.n_seeds) - abs(self.mean)

        lowest, highest = math.log(1e-15), -1e-12
        if self.mean == 0 or excess(highest) > 0:  # rounding may leave a mean of 1e-17
            return 1.0
        return 0.0 if excess(lowest) < 0 else math.exp(brentq(excess, lowest, highest))

    def seeds_for(self, half_width: float) -> int | None:
        """The number of seeds at which the interval would be that narrow; None: at none.

        The share of the episodes does not shrink with more seeds.
        """
        if self.n_seeds < 2 or self.half_width(n_seeds=MOST_SEEDS) > half_width:
            return None
        low, high = 1, MOST_SEEDS  # too wide at low, or one seed; narrow enough at high
        while high - low > 1:
            middle = (low + high) // 2
            wide = self.half_width(n_seeds=middle) > half_width
            low, high = (middle, high) if wide else (low, middle)
        return high


def t_quantile(outside: float, freedom: int) -> float:
    """The value that Student's t exceeds, in size, with a probability."""
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, outside / 2))


def around(centre: float, half: float) -> Interval:
    """The interval of a centre and half a width."""
    return centre - half, centre + half


def t_interval(values: NDArray[np.floating], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval for the mean of independent values ``[n]``; None when n < 2."""
    if len(values) < 2:
        return None
    values = np.asarray(values, np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return around(float(values.mean()), t_quantile(1 - confidence, len(values) - 1) * error)


def t_p_value(values: NDArray[np.floating]) -> float | None:
    """Two-sided p-value of Student's t test that independent values ``[n]`` have mean 0.

    None when n < 2.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtr

    values = np.asarray(values, np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if not error:
        return float(values.mean() == 0)
    return float(2 * stdtr(len(values) - 1, -abs(float(values.mean())) / error))


def class_variance(values: Errors, classes: NDArray[np.integer], n_classes: int) -> float | None:
    """Variance of the mean that is due to which C classes the episodes are drawn from.

    Source: the delete-one-class jackknife (Efron & Stein 1981, Annals of Statistics 9, 586-596) of
    the mean over the episodes without that class, less its Monte-Carlo noise
    ``(C-1) var(episode means) / E · p / (1-p)``, p = n_way / C; 0 if the noise is larger.

    Args:
        values: ``[seeds, episodes]``.
        classes: of each episode, ``[episodes, n_way]``, in [0, n_classes).
        n_classes: C, that the episodes are drawn from.

    Returns:
        None if every episode holds some class, or there are no more classes than ways.

    Raises:
        ValueError: a class is not in [0, n_classes).
    """
    if classes.max() >= n_classes:
        raise ValueError(f"class {classes.max()} is not one of {n_classes}, from 0")
    means = np.asarray(values, np.float64).mean(0)
    means -= means.mean()
    n_episodes, n_way = classes.shape
    flat = classes.reshape(-1)
    without = n_episodes - np.bincount(flat, minlength=n_classes)
    if n_way >= n_classes or not without.all():
        return None
    deleted = -np.bincount(flat, np.repeat(means, n_way), n_classes) / without
    jackknife = (n_classes - 1) * deleted.var()
    share = n_way / n_classes
    noise = (n_classes - 1) * means.var(ddof=1) / n_episodes * share / (1 - share)
    return max(float(jackknife - noise), 0.0)


def new_classes_interval(
    crossed: Crossed, values: Errors, classes: NDArray[np.integer], n_classes: int
) -> Interval | None:
    """The 95 % interval of the mean for other test classes from where these came.

    ``half²_new = half² + t²(C-1) V``, V of :func:`class_variance`, which has the arguments.
    """
    variance = class_variance(values, classes, n_classes)
    if variance is None:
        return None
    further = t_quantile(1 - CONFIDENCE, n_classes - 1) ** 2 * variance
    return around(crossed.mean, math.sqrt(crossed.half_width() ** 2 + further))


@dataclass(frozen=True)
class PairedDifference:
    """The difference between the errors of two arms with the same seeds on the same episodes.

    Attributes:
        crossed: of the differences arm - baseline, percentage points; negative if the arm is
            better.
        relative_reduction: (baseline - arm) / baseline, in percent; None if the baseline makes
            no error.
    """

    crossed: Crossed
    relative_reduction: float | None


def paired_difference(arm: Errors, baseline: Errors) -> PairedDifference:
    """Compare two arms seed by seed and episode by episode.

    Args:
        arm, baseline: ``[seeds, episodes]``, the same seeds and episodes in the same order.

    Raises:
        ValueError: the shapes differ.
        InputError: fewer than two episodes.
    """
    if arm.shape != baseline.shape:
        raise ValueError(f"cannot pair errors {arm.shape} with {baseline.shape}")
    crossed = Crossed.of(arm.astype(np.float64) - baseline)
    base = float(baseline.mean(dtype=np.float64))
    return PairedDifference(crossed, -100 * crossed.mean / base if base > 0 else None)


def stand_after_holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """True for each hypothesis that is rejected when all are tested together.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70: the chance that any true one
    is among the rejected is at most ``level``.
    """
    order = np.argsort(p_values, kind="stable")
    limits = level / np.arange(len(order), 0, -1)
    passed = np.logical_and.accumulate(np.asarray(p_values, float)[order] <= limits)
    stand = np.zeros(len(order), bool)
    stand[order] = passed
    return stand.tolist()
