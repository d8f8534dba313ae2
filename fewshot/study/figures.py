"""Figures of a study, drawn from its rows: matplotlib figures that belong to no window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.statistics import Errors
from fewshot.study.colours import Style, arm_styles
from fewshot.study.outcome import Answers
from fewshot.study.rows import LearnerRow, ResultRow, RowKey
from fewshot.study.text import arm_label, minus, partner_label, ways_and_shots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 30
"""The ratio of values beyond which an axis is logarithmic."""
TICKS = [factor * 10**power for power in range(-2, 2) for factor in (1, 2, 5)] + [100]
RIGHT, WRONG = "#2497FD", "#CE0931"

Styles = Mapping[str, Style]


def errors_figure(
    study: str,
    rows: Sequence[ResultRow],
    errors: Mapping[RowKey, Errors] | None = None,
    styles: Styles | None = None,
) -> "Figure":
    """Mean errors and their intervals, one panel a setting; the axis of errors is shared.

    Args:
        study: its name.
        rows: to show.
        errors: percent, ``[seeds, episodes]``, by the rows' keys: a dot for each seed.
        styles: of all arms of the study; those of the rows' if not given.
    """
    styles = styles or arm_styles(row.arm for row in rows)
    highest = max(max(row.error, *(row.error_ci95 or ())) for row in rows)

    def draw(axes: "Axes", rows: Sequence[ResultRow]) -> None:
        for i, row in enumerate(rows):
            _point(axes, i, row.error, row.error_ci95, styles[row.arm], _by_seed(row, errors))
        _chance(axes, rows[0].n_way, highest)

    figure = _panels(rows, draw, condition_label)
    means = [row.error for row in rows]
    if 0 < WIDE * min(means) < max(means):
        for axes in figure.axes:
            axes.set_xscale("log", subs=())
            low, high = axes.get_xlim()
            ticks = [t for t in TICKS if low <= t <= high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xlim(low, high)
    over = "seeds and episodes" if len(rows[0].seeds) > 1 else "episodes"
    figure.suptitle(f"{study}: error in %, 95 % over {over}")
    figure.supxlabel("← better · error in %", fontsize=9)
    return figure


def _by_seed(row: ResultRow, errors: Mapping[RowKey, Errors] | None) -> Sequence[float]:
    """Mean error of each seed, where there are several."""
    if errors is None or row.key not in errors or len(row.seeds) < 2:
        return ()
    means: Sequence[float] = errors[row.key].mean(1).tolist()
    return means


def _chance(axes: "Axes", n_way: int, highest: float) -> None:
    """A line at the error of guessing, or its value at the edge where it is far away."""
    chance = 100 * (1 - 1 / n_way)
    text: dict[str, Any] = {"fontsize": 7, "color": "0.45", "ha": "right"}
    if chance < 2 * highest:
        axes.axvline(chance, color="0.5", linewidth=1, linestyle=":")
        axes.text(chance, 0.99, "chance ", transform=axes.get_xaxis_transform(), va="top", **text)
    else:
        axes.text(0.99, 0.99, f"chance {chance:g} →", transform=axes.transAxes, va="top", **text)


def differences_figure(
    study: str,
    rows: Sequence[ResultRow],
    errors: Mapping[RowKey, Errors] | None = None,
    styles: Styles | None = None,
) -> "Figure | None":
    """Paired differences to every partner; left of the line, the arm is better.

    Arguments as for :func:`errors_figure`.
    """
    styles = styles or arm_styles(row.arm for row in rows)
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
            seeds: Sequence[float] = ()
            partner = row.key_of(pair)
            if errors is not None and partner in errors and _by_seed(row, errors):
                seeds = (errors[row.key] - errors[partner]).mean(1).tolist()
            _point(axes, i, pair.difference or 0.0, pair.ci95, styles[row.arm], seeds)

    def label(row: ResultRow) -> str:
        (pair,) = row.pairs
        return condition_label(row) + (f" − {partner_label(row, pair)}" if several else "")

    figure = _panels(rows, draw, label)
    points = "points"
    if WIDE * min(sizes) < max(sizes) > WIDE / 3:
        points = "points, logarithmic beyond 1"
        for axes in figure.axes:
            low, high = axes.get_xlim()
            axes.set_xscale("symlog", linthresh=1, linscale=0.6)
            ticks = [t for t in (-30, -10, -3, -1, 0, 1, 3, 10, 30) if low < t < high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
            axes.set_xlim(1.5 * min(low, -1), 1.5 * max(high, 1))
    figure.suptitle(f"{study}: error {minus(rows)} on the same episodes, {points}")
    figure.supxlabel("← better · difference in points", fontsize=9)
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
    most = max(map(len, settings.values()))
    height = 1.3 + 0.26 * most
    figure = Figure(figsize=(3.2 + 2.8 * len(settings), height), layout="constrained")
    panels = figure.subplots(1, len(settings), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (setting, panel) in zip(panels, settings.items(), strict=True):
        draw(axes, panel)
        axes.set_title(setting, fontsize=10)
        axes.set_yticks(range(len(panel)), [label(row) for row in panel], fontsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(most - 0.5, -0.9)  # the first above; room for chance over it
    return figure


def condition_label(row: LearnerRow) -> str:
    """Arm, latents and learner."""
    return f"{arm_label(row)} · {row.learner}"


def _point(
    axes: "Axes",
    y: int,
    value: float,
    interval: Sequence[float] | None,
    style: Style,
    seeds: Sequence[float] = (),
) -> None:
    if interval:
        axes.plot(interval, [y, y], color=style.colour, linewidth=2, solid_capstyle="butt")
    if seeds:
        dots: dict[str, Any] = {"color": style.colour, "edgecolors": "none", "alpha": 0.45}
        axes.scatter(seeds, [y - 0.25] * len(seeds), s=9, zorder=3, **dots)
    axes.plot([value], [y], style.marker, color=style.colour, markersize=5)


def episode_figure(answers: Answers, n_shown: int = 8) -> "Figure":
    """One episode: support on the left, queries on the right.

    A right query has a solid blue frame, a wrong one a dashed red frame, and under it a cross and
    the class (row) that the learner took it for.
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
        colour, line = (RIGHT, "-") if guess == way else (WRONG, "--")
        frame = Rectangle((x, y), width + 1, height + 1, fill=False, edgecolor=colour, linewidth=2)
        frame.set(linestyle=line)
        axes.add_patch(frame).set_clip_on(False)
        if guess != way:
            place = x + width / 2, y + height + 2
            axes.text(*place, f"✗ {guess}", fontsize=8, color=colour, ha="center", va="top")
    axes.set_yticks(np.arange(n_way) * step[0] + height / 2, [str(way) for way in range(n_way)])
    axes.set_xticks([width / 2, shots * step[1] + width / 2], ["support", "queries"], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
