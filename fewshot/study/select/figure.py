"""The figure of a selection: scores against errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.study.colours import arm_styles
from fewshot.study.select.selection import TITLES, Selection
from fewshot.study.text import fixed, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def selection_figure(selection: Selection) -> "Figure":
    """Error against score: a row of panels for each test, a column for each score.

    A point is an encoder, its colour the arm; a ring is the encoder that the score chooses; the
    line is the lowest error.
    """
    from matplotlib.figure import Figure

    scores = [s for s, values in selection.scores.values.items() if not np.isnan(values).all()]
    tests = selection.tests
    size = (0.8 + 2.2 * len(scores), 1.3 + 2.1 * len(tests))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(tests), len(scores), sharex="col", sharey="row", squeeze=False)
    for row, test in zip(grid, tests, strict=True):
        for axes, score in zip(row, scores, strict=True):
            _panel(axes, selection, score, test)
        row[0].set_ylabel(f"{test}\nerror in %", fontsize=8)
    for axes, score in zip(grid[-1], scores, strict=True):
        sign = "−" if score == "validation" else ""
        axes.set_xlabel(sign + TITLES[score], fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
    figure.suptitle(
        f"{len(selection.candidates)} encoders; ρ: rank correlation, 95 % by bootstrap over "
        "encoders; ring: the score's choice",
        fontsize=9,
    )
    return figure


def _panel(axes: "Axes", selection: Selection, score: str, test: str) -> None:
    values, errors = selection.scores.values[score], selection.errors(test)
    arms = [(c.run, c.arm) for c in selection.candidates]
    styles = arm_styles(map("/".join, arms))
    for arm in dict.fromkeys(arms):
        mine = np.array([other == arm for other in arms])
        label = "/".join(filter(None, arm))
        style = styles["/".join(arm)]
        form: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 4}
        axes.plot(values[mine], errors[mine], linestyle="", label=label, **form)
    axes.axhline(np.nanmin(errors), color="0.7", linewidth=1, zorder=0)
    for one in selection.judgements[test]:
        if one.score == score:
            chosen = one.chosen
            axes.plot(
                values[chosen], errors[chosen], "o", color="k", fillstyle="none", markersize=9
            )
            axes.set_title(f"ρ {fixed(one.correlation)} ({span(one.ci95)})", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
