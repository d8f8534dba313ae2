"""Markdown tables of recovered sources."""

from collections.abc import Sequence

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


def recovery_table(found: Recoveries, measure: Measure = "mcc") -> str:
    """A line for each number of samples, a column for each method and width."""
    shown = [
        *((LEARNED, width) for width in found.widths),
        (LINEAR, None),
        (MIXTURES, None),
        (UNTRAINED, found.widths[-1]),
    ]
    head = [name if width is None else f"{name}, width {width}" for name, width in shown]
    lines = [
        [f"{n:,}", *(_mean(found.seeds_of(*condition, n, measure)) for condition in shown)]
        for n in found.samples
    ]
    return markdown(["samples a segment", *head], lines)


def order_table(found: Recoveries) -> str:
    """A line for each method, number of samples and width; MCC with sources and their squares."""
    shown = [(name, w) for name in (LEARNED, UNMIXED, UNTRAINED) for w in found.widths]
    lines = [
        [
            name,
            "" if width is None else str(width),
            f"{n:,}",
            *(_mean(found.seeds_of(name, width, n, m)) for m in ("mcc", "mcc_squares")),
        ]
        for name, width in [*shown, (LINEAR, None), (MIXTURES, None)]
        for n in found.samples
    ]
    return markdown(["codes", "width", "samples a segment", "sources", "their squares"], lines)


def differences_table(found: Recoveries, measure: Measure = "mcc") -> str:
    """A measure of each width minus the widest's, and of the most samples minus the fewest.

    The interval is Student's over seeds; a mark stands for all comparisons of the table together,
    by Holm's correction.
    """

    def of(width: int, n: int) -> Floats:
        return found.seeds_of(LEARNED, width, n, measure)

    widest, few, many = found.widths[-1], found.samples[0], found.samples[-1]
    compared: list[tuple[str, Floats]] = [
        (
            f"{n:,} samples a segment: width {width} minus {widest}",
            of(width, n) - of(widest, n),
        )
        for n in found.samples
        for width in found.widths[:-1]
    ]
    if many > few:
        compared += [
            (
                f"width {width}: {many:,} minus {few:,} samples a segment",
                of(width, many) - of(width, few),
            )
            for width in found.widths
        ]
    return markdown(["", "difference", "95 % interval"], _lines(compared))


def _lines(compared: Sequence[tuple[str, Floats]]) -> list[list[str]]:
    p_values = [t_p_value(values) for _, values in compared]
    stand = stand_after_holm([1.0 if p is None else p for p in p_values])
    return [
        [
            title,
            fixed(float(np.mean(values)), 3, "+") + (f" {STANDS}" if stands else ""),
            span(t_interval(values), 3, "+"),
        ]
        for (title, values), stands in zip(compared, stand, strict=True)
    ]


def _mean(values: Floats) -> str:
    return plus_minus(float(values.mean()), t_interval(values), 3)
