"""Figures of Lake's task, as matplotlib figures that belong to no window."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fewshot.study.colours import arm_styles
from fewshot.study.figures import RIGHT, WRONG, condition_label
from fewshot.study.lake.runs import SOURCES, TITLES, LakeRuns
from fewshot.study.published import Published
from fewshot.study.rows import LakeRow
from fewshot.study.text import sourced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 3  # pixels between images of a contact sheet


def lake_figure(rows: Sequence[LakeRow], published: Sequence[Published]) -> "Figure":
    """Bars for each arm and learner, one for each kind of runs; a line for each published error."""
    from matplotlib.figure import Figure

    styles = arm_styles(row.arm for row in rows)
    labels = list(dict.fromkeys(map(condition_label, rows)))
    kinds = [source for source in SOURCES if source in {row.source for row in rows}]
    width = 0.7 / len(kinds)
    figure = Figure(figsize=(5 + 0.42 * len(rows), 6), layout="constrained")
    axes = figure.subplots()
    highest = 0.0
    for i, kind in enumerate(kinds):
        shown = [row for row in rows if row.source == kind]
        errors = np.array([row.error for row in shown])
        low, high = np.array([row.error_ci95 or (row.error, row.error) for row in shown]).T
        place = np.array([labels.index(condition_label(row)) for row in shown])
        axes.bar(
            place + (i - (len(kinds) - 1) / 2) * width,
            errors,
            yerr=[errors - low, high - errors],
            color=[styles[row.arm].colour for row in shown],
            alpha=0.5 if kind == "drawn" and len(kinds) > 1 else 1,
            ecolor="0.2",
            capsize=3,
            width=width,
        )
        highest = max(highest, high.max())
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    levels = {p.name: error for p in sourced(published) for error in p.errors.values()}
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(0, min(100, 5 + max([highest, *levels.values()])))
    axes.set_ylabel("error in %, 95 %")
    axes.spines[["top", "right"]].set_visible(False)
    pale = ["", ", pale"] if len(kinds) > 1 else [""]
    trials = {row.source: row.trials for row in rows}
    title = [
        f"{TITLES[kind]}: {trials[kind]} trials{p}" for kind, p in zip(kinds, pale, strict=True)
    ]
    lines = "lines: published, on Lake's own runs"
    figure.suptitle("\n".join([*title, lines]), fontsize=9)
    _lines(axes, levels)
    return figure


def _lines(axes: "Axes", levels: dict[str, float]) -> None:
    """Lines over the whole width; their names on the right, pushed apart where they would touch."""
    top = axes.get_ylim()[1]
    place = -1.0
    for name, error in sorted(levels.items(), key=lambda level: level[1]):
        axes.axhline(error, color="0.35", linewidth=0.8, linestyle="--")
        place = max(error / top, place + 0.05)
        axes.annotate(
            f"{name} {error}",
            (1, error / top),
            (1.05, place),
            "axes fraction",
            "axes fraction",
            arrowprops={
                "arrowstyle": "-",
                "color": "0.35",
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkB": 0,
            },
            fontsize=8,
            va="center",
        )


def run_figure(runs: LakeRuns, predicted: NDArray[np.int64], title: str, run: int = 0) -> "Figure":
    """A contact sheet of one run: training images, test images, and the answer to each.

    Args:
        runs: the task.
        predicted: positions ``[R, 20]``; see :func:`.predicted_classes`.
        title: names the learner whose answers are shown.
        run: which of the runs.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    training = runs.episodes.support[run, :, 0, 0].numpy()
    tests = runs.episodes.query[run, :, 0, 0].numpy()
    taken = predicted[run]
    n, height, width = training.shape
    right = taken == np.arange(n)
    step = np.array([height, width]) + GAP
    rows = [training, tests, training[taken]]
    sheet = np.pad(np.stack(rows), ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=128)
    figure = Figure(figsize=(0.55 * n + 1, 2.5), layout="constrained")
    axes = figure.subplots()
    answers = [f"{i + 1}" if ok else f"✗ {i + 1}" for i, ok in zip(taken, right, strict=True)]
    axes.imshow(sheet.transpose(0, 2, 1, 3).reshape(3 * step[0], n * step[1]), cmap="gray_r")
    axes.set_xticks((np.arange(n) + 0.5) * step[1], answers, fontsize=8)
    for i, label in enumerate(axes.get_xticklabels()):
        colour, line = (RIGHT, "-") if right[i] else (WRONG, "--")
        corner = (i * step[1] - 1, 2 * step[0] - 1)
        frame = Rectangle(corner, width + 1, height + 1, fill=False, edgecolor=colour)
        frame.set(linewidth=1.8, linestyle=line, clip_on=False)
        axes.add_patch(frame)
        label.set_color(colour)
        axes.text((i + 0.5) * step[1], -GAP, str(i + 1), ha="center", fontsize=8)
    axes.set_yticks((np.arange(3) + 0.5) * step[0], ["training", "test", "taken for"], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{title}: {n - int(right.sum())} of {n} wrong (✗)", fontsize=10, pad=16)
    return figure
