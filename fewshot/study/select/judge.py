"""The cost of choosing by a score, and how it orders encoders."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewshot.study.rows import Interval
from guided.seeds import derive_seed

Floats = NDArray[np.float64]

RESAMPLES = 2000
FEWEST = 5
"""Resampled from fewer encoders, most samples are the same few."""


@dataclass(frozen=True)
class Judgement:
    """A score beside an outcome: an error, or a score against ground truth.

    Attributes:
        score, outcome: their names.
        chosen: position of the encoder of the highest score; the first of equal ones.
        value: its outcome.
        best: the best outcome of all encoders.
        regret: how much worse the chosen one is than the best, >= 0; errors in points.
        random_regret: that of an encoder drawn at random: the mean over all.
        encoders: number that have both.
        correlation: Spearman's, of score and outcome; None if one of them is constant.
        ci95: its interval, see :func:`bootstrap_interval`.
    """

    score: str
    outcome: str
    chosen: int
    value: float
    best: float
    regret: float
    random_regret: float
    encoders: int
    correlation: float | None
    ci95: Interval | None


def judge(
    names: tuple[str, str],
    score: Floats,
    outcome: Floats,
    *,
    lower_is_better: bool,
    seed: int = 0,
) -> Judgement | None:
    """Judge a choice by a score; None if no encoder has both.

    Args:
        names: of the score and of the outcome.
        score: ``[n]``, the highest is chosen; NaN where there is none.
        outcome: ``[n]``; NaN where there is none.
        lower_is_better: true of errors.
        seed: of the bootstrap.
    """
    known = ~np.isnan(outcome)
    both = np.flatnonzero(known & ~np.isnan(score))
    if not len(both):
        return None
    chosen = int(both[score[both].argmax()])
    outcomes = outcome[known]
    best = float(outcomes.min() if lower_is_better else outcomes.max())
    return Judgement(
        *names,
        chosen=chosen,
        value=float(outcome[chosen]),
        best=best,
        regret=abs(float(outcome[chosen]) - best),
        random_regret=float(abs(outcomes - best).mean()),
        encoders=len(both),
        correlation=_finite(_spearman(score[None, both], outcome[None, both])[0]),
        ci95=bootstrap_interval(score[both], outcome[both], derive_seed(seed, "select", *names)),
    )


def bootstrap_interval(score: Floats, outcome: Floats, seed: int) -> Interval | None:
    """95 % interval of Spearman's correlation: percentiles over resampled encoders.

    Encoders are drawn with replacement, and their scores kept. It is about other trainings of such
    arms, is rough for a dozen encoders, and does not know that seeds of an arm are alike.

    Source: Efron (1979), Annals of Statistics 7, 1-26.

    Args:
        score: ``[n]``.
        outcome: ``[n]``.
        seed: of the draws.

    Returns:
        None for fewer than five encoders or a constant score or outcome.
    """
    n = len(score)
    if n < FEWEST or np.ptp(score) == 0 or np.ptp(outcome) == 0:
        return None
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    found = _spearman(score[drawn], outcome[drawn])
    low, high = np.quantile(found[~np.isnan(found)], [0.025, 0.975])
    return float(low), float(high)


def _spearman(first: Floats, second: Floats) -> Floats:
    """Of each pair of rows ``[B, n]``, ``[B]``; NaN where a row is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second))
    norms = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1), np.nan)


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def ranks(score: Floats) -> list[int | None]:
    """1 for the highest score, equal ones alike; None for NaN."""
    return [None if np.isnan(own) else 1 + int((score > own).sum()) for own in score]
