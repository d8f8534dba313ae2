"""Scores against ground-truth factors as rows and as Markdown tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fewshot.statistics import t_interval
from fewshot.study.rows import Interval, rounded
from fewshot.study.text import fixed, markdown, plus_minus, span

TITLES = {
    "beta_vae": "Z-diff (β-VAE)",
    "factor_vae": "FactorVAE score",
    "mig": "MIG",
    "sap": "SAP",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
    "irs": "IRS",
    "mcc": "MCC",
}
TRUTH = "truth"
RANDOM = "random"
"""Rows that every table has: the factors themselves, and the network before training."""
DIGITS = 3


@dataclass(frozen=True)
class ScorePair:
    """A score minus that of a partner of the same seeds.

    Attributes:
        partner: name of the arm.
        difference: mean over seeds.
        ci95: Student's t interval over seeds; None for one seed.
    """

    partner: str
    difference: float
    ci95: Interval | None

    @classmethod
    def from_values(cls, partner: str, own: Sequence[float], other: Sequence[float]) -> Self:
        """Both of each seed, in one order."""
        return cls(partner, *_mean_and_interval(np.subtract(own, other).tolist()))


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score of one arm's encoders.

    Attributes:
        arm: name of the encoder; ``truth``: the factors themselves, taken for codes.
        score: its name, see :func:`guided.metrics.disentanglement_scores`.
        values: of each seed.
        mean: over seeds.
        ci95: Student's t interval over seeds; None for one seed.
        pairs: the partners that it is compared with.
    """

    arm: str
    score: str
    values: tuple[float, ...]
    mean: float
    ci95: Interval | None
    pairs: tuple[ScorePair, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {**vars(self), "pairs": [dict(vars(pair)) for pair in self.pairs]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The row that :meth:`to_json` described."""
        pairs = tuple(
            ScorePair(**{**pair, "ci95": _frozen(pair["ci95"])}) for pair in values["pairs"]
        )
        frozen = {"values": tuple(values["values"]), "ci95": _frozen(values["ci95"])}
        return cls(**{**values, **frozen, "pairs": pairs})


def score_rows(
    found: Mapping[str, Sequence[Mapping[str, float]]], partners: Mapping[str, Sequence[str]]
) -> list[ScoreRow]:
    """One row an arm and score.

    Args:
        found: arm -> name of a score -> its value, for each seed.
        partners: arm -> those that it is compared with; arms without scores are left out.
    """
    values = {
        (arm, score): [rounded(of_seed[score]) for of_seed in seeds]
        for arm, seeds in found.items()
        for score in seeds[0]
    }
    rows = []
    for (arm, score), own in values.items():
        mean, interval = _mean_and_interval(own)
        pairs = tuple(
            ScorePair.from_values(other, own, values[other, score])
            for other in partners.get(arm, ())
            if other in found
        )
        rows.append(
            ScoreRow(arm=arm, score=score, values=tuple(own), mean=mean, ci95=interval, pairs=pairs)
        )
    return rows


def scores_table(rows: Sequence[ScoreRow]) -> str:
    """A line for each arm, a column for each score; ± half the interval over seeds."""
    scores = list(dict.fromkeys(row.score for row in rows))
    shown = {(row.arm, row.score): plus_minus(row.mean, row.ci95, DIGITS) for row in rows}
    arms = dict.fromkeys(row.arm for row in rows)
    lines = [[arm, *(shown[arm, score] for score in scores)] for arm in arms]
    return markdown(["arm", *map(_title, scores)], lines)


def score_differences_table(rows: Sequence[ScoreRow]) -> str:
    """A line for each arm and partner, a column for each score; empty without partners."""
    scores = list(dict.fromkeys(row.score for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        for pair in row.pairs:
            interval = f" ({span(pair.ci95, DIGITS, '+')})" if pair.ci95 else ""
            difference = fixed(pair.difference, DIGITS, "+") + interval
            lines.setdefault((row.arm, pair.partner), {})[row.score] = difference
    body = [[*names, *(found[score] for score in scores)] for names, found in lines.items()]
    return markdown(["arm", "minus", *map(_title, scores)], body) if body else ""


def report_tables(rows: Sequence[ScoreRow]) -> str:
    """Both tables, with a sentence; empty without rows."""
    if not rows:
        return ""
    about = (
        f"Scores of all latents against the ground-truth factors; `{TRUTH}`: the factors "
        f"themselves, `{RANDOM}`: the network before training. ± and (…): 95 % over seeds."
    )
    tables = [scores_table(rows), score_differences_table(rows)]
    return "\n".join([f"\n{about}\n", *(table for table in tables if table)])


def _title(score: str) -> str:
    return TITLES.get(score, score)


def _mean_and_interval(values: Sequence[float]) -> tuple[float, Interval | None]:
    interval = t_interval(np.asarray(values))
    return rounded(np.mean(values)), rounded(interval)


def _frozen(interval: Sequence[float] | None) -> Interval | None:
    return None if interval is None else (interval[0], interval[1])
