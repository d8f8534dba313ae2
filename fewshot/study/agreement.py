"""Agreement of rows that were computed again with those on file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fewshot.statistics import CONFIDENCE, Errors, Interval, around, t_quantile
from fewshot.study.counts import Counts
from fewshot.study.nica.report import NicaResult
from fewshot.study.result import Result
from fewshot.study.rows import LakeRow, ResultRow, Row, RowKey, rounded
from guided.errors import InputError

HALF_A_DECIMAL = 5.1e-5
"""Of the four that are stored."""

Verdict = Literal["same", "within", "outside"]


@dataclass(frozen=True)
class Values:
    """One row: errors in percent, or the scores of a study of nonlinear ICA.

    Attributes:
        key: of the row.
        seeds: one training each.
        mean: over seeds and units, which are test episodes, trials or images.
        interval: of the mean, 95 %; None where there is none on file.
        values: ``[seeds, units]``, or the seeds' means ``[seeds, 1]``; None where neither was kept.
    """

    key: RowKey
    seeds: tuple[int, ...]
    mean: float
    interval: Interval | None = None
    values: Errors | None = None

    def of(self, seeds: Sequence[int]) -> Errors | None:
        """The values of some of the seeds."""
        if self.values is None:
            return None
        return self.values[[self.seeds.index(seed) for seed in seeds]]


@dataclass(frozen=True)
class Agreement:
    """A row that was computed again, or one of its cells, beside what is on file.

    Attributes:
        key: of the row.
        seeds: those that were computed.
        published: the mean on file of the same seeds.
        new: the mean now.
        interval: in which the new mean is expected; None where nothing on file tells.
        units: values that were compared one by one; 0 where the means alone were.
        differ: those of them that are not equal.
        verdict: ``same``: all are equal, or, of means alone, the four decimals that are stored;
            ``within`` or ``outside`` of the interval.
    """

    key: RowKey
    seeds: tuple[int, ...]
    published: float
    new: float
    interval: Interval | None
    units: int
    differ: int
    verdict: Verdict

    @property
    def label(self) -> str:
        """The row in words; the seed of a single cell."""
        parts = [part for part in self.key if part != "all"]
        return ", ".join([*parts, *([f"seed {self.seeds[0]}"] if len(self.seeds) == 1 else [])])

    def agrees(self, same_kind: bool) -> bool:
        """True if it is as it should be: on the same kind of machine, to the bit."""
        return self.verdict == "same" or (self.verdict == "within" and not same_kind)

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        return values | {name: rounded(values[name]) for name in ("published", "new", "interval")}


def agreement(published: Values, new: Values, rows: int) -> Agreement:
    """A row, or one seed of it, beside what is on file.

    Another kind of machine rounds otherwise, and the trainings end elsewhere: a training there is
    one more draw from the row's trainings. All are tested on the same episodes, which
    therefore tell nothing apart, and the means of n published and m new trainings differ as in
    Student's test of two samples, by no more than

    ``half² = t²(n + m - 2) s² (1/n + 1/m) + t²(E - 1) v``

    with the trainings' pooled variance s² and the variance v of the mean of the paired differences
    over E episodes, which alone is left where nothing is trained (the two are joined as in
    :class:`.Crossed`). t leaves 5 % to all ``rows``
    together (Bonferroni): where all is as it should be, none is outside in 95 of 100 studies.
    Where one training stands beside one, or their values were not kept, the interval is that of
    the row on file.

    Args:
        published: the row on file.
        new: some or all of its seeds, computed again.
        rows: number of rows, or cells, that are compared together.

    Raises:
        InputError: it has other seeds, or other episodes.
    """
    if not set(new.seeds) <= set(published.seeds):
        raise InputError(f"{'|'.join(new.key)}: seeds {new.seeds}, on file {published.seeds}")
    old, again = published.of(new.seeds), new.values
    if old is None or again is None:
        same = rounded(new.mean) == rounded(published.mean)
        return _judged(published, new, published.mean, published.interval, 0, 0, same)
    if old.shape[1] == 1 < again.shape[1]:  # of the trainings on file the means alone are known
        again = again.mean(1, keepdims=True)
        other = np.abs(again - old) >= HALF_A_DECIMAL
    elif old.shape == again.shape:
        other = old != again
    else:
        raise InputError(
            f"{'|'.join(new.key)}: {again.shape[1]} episodes, runs or images, on file "
            f"{old.shape[1]}"
        )
    differ = int(other.sum())
    interval = _expected(published, old, again, rows)
    return _judged(published, new, float(old.mean()), interval, old.size, differ, not differ)


def _judged(
    published: Values,
    new: Values,
    mean: float,
    interval: Interval | None,
    units: int,
    differ: int,
    same: bool,
) -> Agreement:
    inside = interval is not None and interval[0] <= new.mean <= interval[1]
    verdict: Verdict = "same" if same else "within" if inside else "outside"
    return Agreement(published.key, new.seeds, mean, new.mean, interval, units, differ, verdict)


def _expected(published: Values, old: Errors, again: Errors, rows: int) -> Interval | None:
    """The interval of :func:`agreement` around the mean of all published trainings."""
    assert published.values is not None
    means = [published.values.mean(1), again.mean(1)]
    n, m = map(len, means)
    if n + m == 2:
        return published.interval
    pooled = sum(np.square(of - of.mean()).sum() for of in means) / (n + m - 2)
    outside, units = (1 - CONFIDENCE) / rows, old.shape[1]
    squared = t_quantile(outside, n + m - 2) ** 2 * float(pooled) * (1 / n + 1 / m)
    if units > 1:
        over_units = float((again - old).mean(0).var(ddof=1)) / units
        squared += t_quantile(outside, units - 1) ** 2 * over_units
    return around(float(means[0].mean()), math.sqrt(squared))


def values_of(result: "Result[Any] | NicaResult", counts: Counts | None) -> dict[RowKey, Values]:
    """The rows of a result by their keys.

    Args:
        result: of any study.
        counts: its wrong answers; None where they were not kept.

    Raises:
        InputError: counts are of other seeds or episodes than the rows, or of other errors.
    """
    if isinstance(result, NicaResult):
        return _recoveries(result)
    return {row.key: _values(row, counts) for row in result.rows}


def _values(row: Row, counts: Counts | None) -> Values:
    values = None
    if counts is not None and row.key in counts.wrong:
        wrong = counts.wrong[row.key].astype(np.float64)
        values = 100 * wrong.reshape(len(wrong), -1)
        if isinstance(row, ResultRow):
            values /= row.n_way * row.n_query
        _check(row, values)
    elif isinstance(row, LakeRow) and len(row.error_by_seed) == len(row.seeds):
        values = np.array(row.error_by_seed)[:, None]
    return Values(row.key, row.seeds, row.error, row.error_ci95, values)


def _check(row: Row, values: Errors) -> None:
    """Refuse counts that are not those of a row's error."""
    name, expected = "|".join(row.key), (len(row.seeds), row.units)
    if values.shape != expected:
        raise InputError(
            f"{name}: expected counts of {expected[0]} seeds and {expected[1]} episodes, runs or "
            f"images, got {values.shape[0]} and {values.shape[1]}"
        )
    if abs(values.mean() - row.error) > HALF_A_DECIMAL:
        raise InputError(
            f"{name}: its row has the error {row.error} %, its counts {values.mean():.4f}"
        )


def _recoveries(result: NicaResult) -> dict[RowKey, Values]:
    found: dict[RowKey, dict[int, float]] = {}
    for score in result.scores:
        for key, value in score.values.items():
            found.setdefault(key, {})[score.seed] = value
    return {
        key: Values(
            key,
            tuple(of_seeds),
            float(np.mean(list(of_seeds.values()))),
            values=np.array([list(of_seeds.values())]).T,
        )
        for key, of_seeds in found.items()
    }


def other_kind(published: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what the machine and torch differ from those on file; bits are the same where nothing is.

    Args:
        published: facts of the result: versions, hardware, configuration.
        here: the same of this run.
    """
    pairs = {
        name: (_fact(published, group, name), _fact(here, group, name))
        for group, names in KIND.items()
        for name in names
    }
    return [f"{name} {old} → {new}" for name, (old, new) in pairs.items() if old != new]


KIND = {
    "hardware": ("processor", "device", "accelerator"),
    "versions": ("torch",),
    "config": ("threads",),
}
"""Facts on which the last bits of a training depend."""


def _fact(facts: Mapping[str, Any], group: str, name: str) -> Any:
    held = facts.get(group)
    return held.get(name, "unknown") if isinstance(held, Mapping) else "unknown"
