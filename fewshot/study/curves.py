"""Figures of trainings: validations against steps, errors against episodes of meta-training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewshot.study.colours import Style, arm_styles
from fewshot.study.outcome import LearningCurve
from fewshot.study.rows import LearnerRow, ResultRow
from fewshot.study.text import arm_label, ways_and_shots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def labelled_styles(rows: Iterable[LearnerRow]) -> dict[str, Style]:
    """A style for each group of arms and latents: of its first arm, dashed for other latents."""
    rows = list(rows)
    styles = arm_styles(row.arm for row in rows)
    found: dict[str, Style] = {}
    for row in rows:
        style = styles[row.arm]
        line = style.line if row.latents == "all" else "--"
        found.setdefault(arm_label(row, row.arm_group), replace(style, line=line))
    return found


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
        fixed = row.encoder in ("pixels", "embeddings") or (
            row.learner in trained and not row.meta_trained
        )
        if not fixed:
            panel = (ways_and_shots(row), row.labelled, row.learner_group)
            line = arm_label(row, row.arm_group)
            curves.setdefault(panel, {}).setdefault(line, []).append(row)
            budgets.setdefault(row.learner_group, set()).add(row.train_episodes)
    learners = [learner for learner, found in budgets.items() if len(found) > 1]
    if not learners:
        return None
    conditions = sorted({panel[:2] for panel in curves})
    styles = labelled_styles(rows)
    size = (1 + 3.4 * len(learners), 1 + 2.4 * len(conditions))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(conditions), len(learners), sharex=True, squeeze=False)
    for i, (setting, share) in enumerate(conditions):
        for j, learner in enumerate(learners):
            axes = grid[i, j]
            for name, curve in curves.get((setting, share, learner), {}).items():
                _curve(axes, curve, name, styles[name])
            axes.set_xscale("symlog", linthresh=100)
            title = f"{learner}, {setting}, {100 * share:g} % of the labels"
            axes.set_title(title, fontsize=8)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    drawn = [axes.get_legend_handles_labels() for axes in grid.flat]
    named = {name: handle for pair in drawn for handle, name in zip(*pair, strict=True)}
    grid[0, 0].legend(named.values(), named.keys(), fontsize=7)
    figure.supxlabel("episodes of meta-training (linear below 100)", fontsize=9)
    figure.supylabel("error in %, with its 95 % interval", fontsize=9)
    return figure


def _curve(axes: "Axes", rows: Sequence[ResultRow], label: str, style: Style) -> None:
    episodes = [row.train_episodes for row in rows]
    form: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linestyle": style.line}
    axes.plot(episodes, [r.error for r in rows], markersize=3, label=label, **form)
    intervals = [row.error_ci95 for row in rows if row.error_ci95]
    if len(intervals) == len(rows):
        low, high = zip(*intervals, strict=True)
        axes.fill_between(episodes, low, high, color=style.colour, alpha=0.15, linewidth=0)


def learning_curves_figure(
    curves: Sequence[LearningCurve],
    styles: Mapping[str, Style] | None = None,
    score: str = "score (lower is better)",
) -> "Figure | None":
    """Validation score against steps for every arm that was validated; one thin line a seed.

    A marker is on the step whose state was kept.

    Args:
        curves: of all arms and seeds.
        styles: of all arms of the study; those of the curves' if not given.
        score: the name of the score.
    """
    from matplotlib.figure import Figure

    if not curves:
        return None
    styles = styles or arm_styles(curve.arm for curve in curves)
    with_elbo = any(curve.elbo and "negative_elbo" in curve.history[0] for curve in curves)
    figure = Figure(figsize=(8 if with_elbo else 4, 3.2), layout="constrained")
    figure.suptitle("on the validation classes; marker: the step that was kept", fontsize=10)
    panels = figure.subplots(1, 2 if with_elbo else 1, squeeze=False)[0]
    labels = {"score": score, "negative_elbo": "negative ELBO, nats per image"}
    for curve in curves:
        for axes, key in zip(panels, labels, strict=False):
            if key not in curve.history[0] or (key == "negative_elbo" and not curve.elbo):
                continue
            label = None if curve.arm in axes.get_legend_handles_labels()[1] else curve.arm
            _training(axes, curve, key, styles[curve.arm], label)
    for axes, name in zip(panels, labels.values(), strict=False):
        axes.set_ylabel(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8)
    return figure


def _training(
    axes: "Axes", curve: LearningCurve, key: str, style: Style, label: str | None
) -> None:
    axes.plot(
        [entry["step"] for entry in curve.history],
        [entry[key] for entry in curve.history],
        color=style.colour,
        linestyle=style.line,
        linewidth=1,
        label=label,
        marker=style.marker,
        markersize=5,
        markevery=[curve.kept],
    )
