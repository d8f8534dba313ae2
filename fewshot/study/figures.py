"""Figures of a study, drawn from its rows: matplotlib figures that belong to no window."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.study.outcome import Answers, LearningCurve
from fewshot.study.rows import LearnerRow, ResultRow
from fewshot.study.text import arm_label, minus, partner_label, ways_and_shots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 10
"""The ratio of values beyond which an axis is logarithmic: errors of 3 and 4 % can be told apart
beside one of 60."""
TICKS = [factor * 10**power for power in range(-2, 2) for factor in (1, 2, 5)] + [100]


def errors_figure(study: str, rows: Sequence[ResultRow]) -> "Figure":
    """Mean errors and their intervals, one panel a setting."""
    colours = arm_colours(rows)

    def draw(axes: "Axes", rows: Sequence[ResultRow]) -> None:
        for i, row in enumerate(rows):
            _point(axes, i, row.error, row.error_ci95, colours[row.arm])

    figure = _panels(rows, draw, condition_label)
    errors = [row.error for row in rows]
    if 0 < WIDE * min(errors) < max(errors):
        for axes in figure.axes:
            axes.set_xscale("log", subs=())
            low, high = axes.get_xlim()
            ticks = [t for t in TICKS if low <= t <= high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xlim(low, high)
    over = "seeds and episodes" if len(rows[0].seeds) > 1 else "episodes"
    figure.suptitle(f"{study}: error in %, 95 % over {over}")
    return figure


def differences_figure(study: str, rows: Sequence[ResultRow]) -> "Figure | None":
    """Paired differences to every partner; left of the line, the arm is better."""
    colours = arm_colours(rows)
    # One row of the figure for each pair.
    rows = [replace(row, pairs=(pair,)) for row in rows for pair in row.pairs]
    pairs = [pair for row in rows for pair in row.pairs]
    sizes = [abs(pair.difference) for pair in pairs if pair.difference is not None]
    if not sizes:
        return None
    several = len({pair.partner for pair in pairs}) > 1

    def draw(axes: "Axes", rows: Sequence[ResultRow]) -> None:
        axes.axvline(0, color="0.6", linewidth=1)
        for i, row in enumerate(rows):
            (pair,) = row.pairs
            _point(axes, i, pair.difference or 0.0, pair.ci95, colours[row.arm])

    def label(row: ResultRow) -> str:
        (pair,) = row.pairs
        return condition_label(row) + (f" − {partner_label(row, pair)}" if several else "")

    figure = _panels(rows, draw, label)
    points = "points"
    if WIDE * min(sizes) < max(sizes) > WIDE:
        points = "points, logarithmic beyond 1"
        for axes in figure.axes:
            low, high = axes.get_xlim()
            axes.set_xscale("symlog", linthresh=1, linscale=0.6)
            ticks = [t for t in (-30, -10, -3, -1, 0, 1, 3, 10, 30) if low < t < high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
            axes.set_xlim(1.5 * min(low, -1), 1.5 * max(high, 1))
    figure.suptitle(f"{study}: error {minus(rows)} on the same episodes, {points}")
    return figure


def _panels(
    rows: Sequence[ResultRow],
    draw: "Callable[[Axes, Sequence[ResultRow]], None]",
    label: Callable[[ResultRow], str],
) -> "Figure":
    from matplotlib.figure import Figure

    settings: dict[str, list[ResultRow]] = {}
    for row in rows:
        settings.setdefault(ways_and_shots(row), []).append(row)
    height = 1.2 + 0.26 * max(map(len, settings.values()))
    figure = Figure(figsize=(3.2 + 2.8 * len(settings), height), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, (setting, panel) in zip(panels, settings.items(), strict=True):
        draw(axes, panel)
        axes.set_title(setting, fontsize=10)
        axes.set_yticks(range(len(panel)), [label(row) for row in panel], fontsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def condition_label(row: LearnerRow) -> str:
    """Arm, latents and learner."""
    return f"{arm_label(row)} · {row.learner}"


def arm_colours(rows: Sequence[LearnerRow]) -> dict[str, str]:
    """The colour of each arm, in the order of the rows."""
    arms = dict.fromkeys(row.arm for row in rows)
    return {arm: f"C{i % 10}" for i, arm in enumerate(arms)}


def _point(
    axes: "Axes", y: int, value: float, interval: Sequence[float] | None, colour: str
) -> None:
    if interval:
        axes.plot(interval, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([value], [y], "o", color=colour, markersize=5)


def budgets_figure(rows: Sequence[ResultRow]) -> "Figure | None":
    """Error against episodes of meta-training; a band is the 95 % interval.

    A row of panels for each setting and share of labels, a column for each group of learners that
    were trained for different numbers of episodes, a line for each group of arms.
    """
    from matplotlib.figure import Figure

    curves: dict[tuple[Any, ...], dict[str, list[ResultRow]]] = {}
    budgets: dict[str, set[int]] = {}
    trained = {row.learner for row in rows if row.meta_trained}
    for row in sorted(rows, key=lambda row: row.train_episodes):
        # A learner that is trained on other arms, but not on this one, has no amount of training.
        fixed = row.encoder == "pixels" or (row.learner in trained and not row.meta_trained)
        if not fixed:
            panel = (ways_and_shots(row), row.labelled, row.learner_group)
            line = arm_label(row, row.arm_group)
            curves.setdefault(panel, {}).setdefault(line, []).append(row)
            budgets.setdefault(row.learner_group, set()).add(row.train_episodes)
    learners = [learner for learner, found in budgets.items() if len(found) > 1]
    if not learners:
        return None
    conditions = sorted({panel[:2] for panel in curves})
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    size = (1 + 3.4 * len(learners), 1 + 2.4 * len(conditions))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(conditions), len(learners), sharex=True, squeeze=False)
    for i, (setting, share) in enumerate(conditions):
        for j, learner in enumerate(learners):
            axes = grid[i, j]
            for name, curve in curves.get((setting, share, learner), {}).items():
                _curve(axes, curve, name, f"C{names.index(name)}")
            axes.set_xscale("symlog", linthresh=100)
            title = f"{learner}, {setting}, {100 * share:g} % of the labels"
            axes.set_title(title, fontsize=8)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("episodes of meta-training", fontsize=9)
    figure.supylabel("error in %", fontsize=9)
    return figure


def _curve(axes: "Axes", rows: Sequence[ResultRow], label: str, colour: str) -> None:
    episodes = [row.train_episodes for row in rows]
    axes.plot(episodes, [r.error for r in rows], "o-", color=colour, markersize=3, label=label)
    intervals = [row.error_ci95 for row in rows if row.error_ci95]
    if len(intervals) == len(rows):
        low, high = zip(*intervals, strict=True)
        axes.fill_between(episodes, low, high, color=colour, alpha=0.15, linewidth=0)


def learning_curves_figure(curves: Sequence[LearningCurve]) -> "Figure | None":
    """Validation score against steps for every arm that was validated; one thin line a seed."""
    from matplotlib.figure import Figure

    if not curves:
        return None
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    with_elbo = any(curve.elbo and "negative_elbo" in curve.history[0] for curve in curves)
    figure = Figure(figsize=(8 if with_elbo else 4, 3.2), layout="constrained")
    figure.suptitle("on the validation classes", fontsize=10)
    panels = figure.subplots(1, 2 if with_elbo else 1, squeeze=False)[0]
    labels = {"score": "score (lower is better)", "negative_elbo": "negative ELBO, nats per image"}
    for curve in curves:
        steps = [entry["step"] for entry in curve.history]
        for axes, key in zip(panels, labels, strict=False):
            if key not in curve.history[0] or (key == "negative_elbo" and not curve.elbo):
                continue
            label = None if curve.arm in axes.get_legend_handles_labels()[1] else curve.arm
            values = [entry[key] for entry in curve.history]
            axes.plot(steps, values, color=f"C{arms.index(curve.arm)}", linewidth=1, label=label)
    for axes, label in zip(panels, labels.values(), strict=False):
        axes.set_ylabel(label)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8)
    return figure


def episode_figure(answers: Answers, n_shown: int = 8) -> "Figure":
    """One episode: support on the left, queries on the right, wrong ones framed in red.

    The number under a wrong query is the class (row) that the learner took it for.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    n_way, n_shot, channels, height, width = answers.support.shape
    n_shown, shots = min(n_shown, answers.query.shape[1]), min(n_shot, 5)
    columns = shots + n_shown
    gap = np.array([height // 4 + 2, width // 8 + 2])  # below each image is room for a number
    step = gap + np.array([height, width])
    images = np.concatenate([answers.support[:, :shots], answers.query[:, :n_shown]], 1)
    # Images on white, and as one picture: axes of their own for each would take seconds.
    padded = np.full((n_way, columns, channels, *step), 255, np.uint8)
    padded[..., :height, :width] = images
    sheet = padded.transpose(0, 3, 1, 4, 2).reshape(n_way * step[0], columns * step[1], channels)
    figure = Figure(figsize=(0.7 * columns + 0.8, 0.8 * n_way + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet[..., 0] if channels == 1 else sheet, cmap="gray", vmin=0, vmax=255)
    for way, query in np.ndindex(n_way, n_shown):
        guess = int(answers.predicted[way, query])
        x, y = (shots + query) * step[1] - 1, way * step[0] - 1
        colour = "tab:green" if guess == way else "tab:red"
        frame = Rectangle((x, y), width + 1, height + 1, fill=False, edgecolor=colour, linewidth=2)
        axes.add_patch(frame).set_clip_on(False)
        if guess != way:
            place = x + width / 2, y + height + 2
            axes.text(*place, str(guess), fontsize=8, color=colour, ha="center", va="top")
    axes.set_yticks(np.arange(n_way) * step[0] + height / 2, [str(way) for way in range(n_way)])
    axes.set_xticks([width / 2, shots * step[1] + width / 2], ["support", "queries"], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
