"""Figures of a selection: scores against errors, and their rank correlations."""

from typing import TYPE_CHECKING

import numpy as np

from fewshot.study.colours import COLOURS
from fewshot.study.select.judge import Judgement
from fewshot.study.select.selection import Selection
from fewshot.study.select.table import title
from fewshot.study.text import fixed, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
MARKERS = "os^DvPX"


def errors_figure(selection: Selection, test: str) -> "Figure":
    """A test's error against each score, a panel each.

    A point is an encoder, its colour what trained it and its marker the arm; a ring is the encoder
    that the score chooses, the grey line the lowest error.
    """
    from matplotlib.figure import Figure

    judged = selection.judgements[test]
    rows = -(-len(judged) // COLUMNS)
    figure = Figure(figsize=(9.5, 1.9 + 2.0 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False)
    for axes in grid.flat[len(judged) :]:
        axes.set_axis_off()
    for axes, one in zip(grid.flat, judged, strict=False):
        _panel(axes, selection, one)
    for row in grid:
        row[0].set_ylabel("error in %", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    figure.suptitle(
        f"{test}: {len(selection.encoders)} encoders; ρ: rank correlation with 95 % interval; "
        "ring: the score's choice",
        fontsize=9,
    )
    return figure


def _panel(axes: "Axes", selection: Selection, one: Judgement) -> None:
    values, errors = selection.values(one.score), selection.values(one.outcome)
    colours: dict[str, int] = {}
    markers: dict[int, int] = {}
    arms = [(entry.run, entry.arm, entry.objective) for entry in selection.encoders]
    for arm in dict.fromkeys(arms):
        mine = np.array([other == arm for other in arms])
        colour = colours.setdefault(arm[2], len(colours))
        marker = markers[colour] = markers.get(colour, -1) + 1
        axes.plot(
            values[mine],
            errors[mine],
            MARKERS[marker % len(MARKERS)],
            color=COLOURS[colour % len(COLOURS)],
            markersize=4,
            markeredgewidth=0,
            alpha=0.85,
            label="/".join(filter(None, arm[:2])),
        )
    axes.axhline(np.nanmin(errors), color="0.7", linewidth=1, zorder=0)
    place = values[one.chosen], errors[one.chosen]
    axes.plot(*place, "o", color="k", fillstyle="none", markersize=9)
    axes.set_title(f"ρ {fixed(one.correlation)} ({span(one.ci95)})", fontsize=8)
    axes.set_xlabel(("−" if one.score == "validation" else "") + title(one.score), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def correlations_figure(selection: Selection) -> "Figure":
    """Rank correlation of each score with the error, a panel for each test; bars: 95 %."""
    from matplotlib.figure import Figure

    names = [*selection.scores, *selection.measures]
    size = (1.4 + 2.0 * len(selection.tests), 1.2 + 0.24 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(1, len(selection.tests), sharex=True, sharey=True, squeeze=False)
    for axes, test in zip(grid[0], selection.tests, strict=True):
        for one in selection.judgements[test]:
            if one.correlation is not None:
                line = len(names) - 1 - names.index(one.score)
                colour = "C0" if one.score in selection.scores else "C1"
                axes.plot(one.correlation, line, "o", color=colour, markersize=4)
                axes.plot(one.ci95 or (one.correlation,) * 2, (line, line), color=colour)
        axes.axvline(0, color="0.7", linewidth=1, zorder=0)
        axes.set_title(test, fontsize=8)
        axes.set_xlabel("rank correlation with error", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_xlim(-1.02, 1.02)
    grid[0, 0].set_yticks(range(len(names)), [title(name) for name in reversed(names)])
    figure.suptitle(
        f"{len(selection.encoders)} encoders: blue without factors, orange against factors; "
        "-1: ordered as their errors",
        fontsize=9,
    )
    return figure
