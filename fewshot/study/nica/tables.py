"""Markdown tables of recovered sources."""

from dataclasses import dataclass, replace

import numpy as np

from fewshot.statistics import stand_after_holm, t_interval, t_p_value
from fewshot.study.nica.scores import (
    LEARNED,
    LINEAR,
    MIXTURES,
    UNMIXED,
    UNTRAINED,
    Floats,
    Measure,
    Recoveries,
)
from fewshot.study.text import STANDS, fixed, markdown, plus_minus, span


def shown_methods(found: Recoveries) -> list[tuple[str, int | None]]:
    """Methods and widths in the order of the tables."""
    references = [(LINEAR, None), (MIXTURES, None), (UNTRAINED, found.widths[-1])]
    return [*((LEARNED, width) for width in found.widths), *references]


def recovery_table(found: Recoveries, measure: Measure = "mcc") -> str:
    """A line for each number of samples, a column for each method and width."""
    shown = shown_methods(found)
    head = [name if width is None else f"{name}, width {width}" for name, width in shown]
    lines = [
        [f"{n:,}", *(_mean(found.seeds_of(*condition, n, measure)) for condition in shown)]
        for n in found.samples
    ]
    return markdown(["samples a segment", *head], lines)


def order_table(found: Recoveries) -> str:
    """A line for each method, number of samples and width; MCC with sources and their squares."""
    lines = [
        [
            name,
            "" if width is None else str(width),
            f"{n:,}",
            *(_mean(found.seeds_of(name, width, n, m)) for m in ("mcc", "mcc_squares")),
        ]
        for name, width in all_methods(found)
        for n in found.samples
    ]
    return markdown(["codes", "width", "samples a segment", "sources", "their squares"], lines)


def all_methods(found: Recoveries) -> list[tuple[str, int | None]]:
    """Every method with every width that it has."""
    shown = [(name, w) for name in (LEARNED, UNMIXED, UNTRAINED) for w in found.widths]
    return [*shown, (LINEAR, None), (MIXTURES, None)]


@dataclass(frozen=True)
class Difference:
    """A condition minus another, paired by seed.

    Attributes:
        title: both in words.
        line, column: the number of samples and the width, for a pivoted table.
        of_widths: True if the two differ in their width.
        values: ``[seeds]``.
        stands: True if it does after Holm's correction for all of a study's.
    """

    title: str
    line: str
    column: str
    of_widths: bool
    values: Floats
    stands: bool = False


def differences(found: Recoveries, measure: Measure = "mcc") -> list[Difference]:
    """A measure of each width minus the widest's, and of the most samples minus the fewest."""

    def of(width: int, n: int) -> Floats:
        return found.seeds_of(LEARNED, width, n, measure)

    widest, few, many = found.widths[-1], found.samples[0], found.samples[-1]
    compared = [
        Difference(
            f"{n:,} samples a segment: width {width} minus {widest}",
            f"{n:,} samples",
            f"width {width} − {widest}",
            True,
            of(width, n) - of(widest, n),
        )
        for n in found.samples
        for width in found.widths[:-1]
    ]
    if many > few:
        compared += [
            Difference(
                f"width {width}: {many:,} minus {few:,} samples a segment",
                f"{many:,} − {few:,} samples",
                f"width {width}",
                False,
                of(width, many) - of(width, few),
            )
            for width in found.widths
        ]
    p_values = [t_p_value(one.values) for one in compared]
    stand = stand_after_holm([1.0 if p is None else p for p in p_values])
    return [replace(one, stands=stands) for one, stands in zip(compared, stand, strict=True)]


def differences_table(found: Recoveries, measure: Measure = "mcc") -> str:
    """The :func:`differences` of a measure.

    The interval is Student's over seeds; a mark stands for all comparisons of the table together,
    by Holm's correction.
    """
    lines = [
        [
            one.title,
            fixed(float(np.mean(one.values)), 3, "+") + (f" {STANDS}" if one.stands else ""),
            span(t_interval(one.values), 3, "+"),
        ]
        for one in differences(found, measure)
    ]
    return markdown(["", "difference", "95 % interval"], lines)


def _mean(values: Floats) -> str:
    return plus_minus(float(values.mean()), t_interval(values), 3)
