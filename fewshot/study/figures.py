"""The study's figures, as matplotlib figures that belong to no window."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from fewshot.data.bank import ImageBank
from fewshot.episodes import Setting
from fewshot.learners.base import Learner
from fewshot.sampler import EpisodeSampler

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fewshot.study.outcome import Outcome


WIDE = 10
"""The ratio of values beyond which an axis is logarithmic, so that errors of 3 and 4 % are apart
beside one of 60."""
TICKS = [factor * 10**power for power in range(-2, 2) for factor in (1, 2, 5)] + [100]


def errors_figure(results: dict[str, Any]) -> "Figure":
    """Mean errors, one panel a setting; bars over seeds where there are several, else episodes."""

    def draw(axes: "Axes", rows: Sequence[dict[str, Any]]) -> None:
        for i, row in enumerate(rows):
            interval = row["error_ci95_seeds"] or row["error_ci95_episodes"]
            _point(axes, i, row["error"], interval, _colour(results, row))

    figure = _panels(results, results["rows"], draw)
    errors = [row["error"] for row in results["rows"]]
    if 0 < WIDE * min(errors) < max(errors):
        for axes in figure.axes:
            axes.set_xscale("log", subs=())
            low, high = axes.get_xlim()
            ticks = [t for t in TICKS if low <= t <= high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xlim(low, high)
    many = len(results["rows"][0]["seeds"]) > 1
    figure.suptitle(f"{results['study']}: error in %, 95 % over {'seeds' if many else 'episodes'}")
    return figure


def differences_figure(results: dict[str, Any]) -> "Figure | None":
    """Paired differences to the baseline; left of the line, the arm is better."""
    rows = [row for row in results["rows"] if row["paired_with"]]
    if not rows:
        return None

    def draw(axes: "Axes", rows: Sequence[dict[str, Any]]) -> None:
        axes.axvline(0, color="0.6", linewidth=1)
        for i, row in enumerate(rows):
            interval = row["paired_difference_ci95"]
            _point(axes, i, row["paired_difference"], interval, _colour(results, row))

    figure = _panels(results, rows, draw)
    sizes = [abs(row["paired_difference"]) for row in rows]
    points = "points"
    if WIDE * min(sizes) < max(sizes) > WIDE:
        points = "points, logarithmic beyond 1"
        for axes in figure.axes:
            low, high = axes.get_xlim()
            axes.set_xscale("symlog", linthresh=1, linscale=0.6)
            ticks = [t for t in (-30, -10, -3, -1, 0, 1, 3, 10, 30) if low < t < high]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
            axes.set_xlim(1.5 * min(low, -1), 1.5 * max(high, 1))
    baseline = baseline_name(results["rows"])
    figure.suptitle(f"{results['study']}: error minus {baseline}'s on the same episodes, {points}")
    return figure


def baseline_name(rows: Sequence[dict[str, Any]]) -> str:
    """What the differences are to, in a heading: an arm, or each arm's own baseline."""
    names = {row["paired_with"] for row in rows if row["paired_with"]}
    return names.pop() if len(names) == 1 else "baseline"


def _panels(results: dict[str, Any], rows: Sequence[dict[str, Any]], draw: Any) -> "Figure":
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys((row["n_way"], row["n_shot"]) for row in rows))
    by_setting = [[r for r in rows if (r["n_way"], r["n_shot"]) == s] for s in settings]
    height = 1.2 + 0.26 * max(len(panel) for panel in by_setting)
    figure = Figure(figsize=(3.2 + 2.8 * len(settings), height), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, (n_way, n_shot), panel in zip(panels, settings, by_setting, strict=True):
        draw(axes, panel)
        axes.set_title(f"{n_way}-way {n_shot}-shot", fontsize=10)
        axes.set_yticks(range(len(panel)), [_label(row) for row in panel], fontsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def _label(row: dict[str, Any]) -> str:
    latents = "" if row["latents"] == "all" else f" [{row['latents']}]"
    return f"{row['arm']}{latents} · {row['learner']}"


def _colour(results: dict[str, Any], row: dict[str, Any]) -> str:
    arms = list(dict.fromkeys(r["arm"] for r in results["rows"]))
    return f"C{arms.index(row['arm']) % 10}"


def _point(
    axes: "Axes", y: int, value: float, interval: Sequence[float] | None, colour: str
) -> None:
    if interval:
        axes.plot(interval, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([value], [y], "o", color=colour, markersize=5)


def budgets_figure(results: dict[str, Any]) -> "Figure | None":
    """Error against episodes of meta-training; a band is the 95 % interval over seeds.

    A row of panels for each setting and share of labels, a column for each learner that was trained
    for different numbers of episodes, a line for each kind of encoder.
    """
    from matplotlib.figure import Figure

    curves: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    for row in sorted(results["rows"], key=lambda row: row["train_episodes"]):
        if row["encoder"] != "pixels":
            learner = row["learner"].partition("@")[0]
            panel = (row["n_way"], row["n_shot"], row["labelled"], learner)
            curves.setdefault(panel, {}).setdefault(_kind(row), []).append(row)
    budgets: dict[str, set[int]] = {}
    for panel, lines in curves.items():
        found = {row["train_episodes"] for rows in lines.values() for row in rows}
        budgets.setdefault(panel[3], set()).update(found)
    learners = [learner for learner, found in budgets.items() if len(found) > 1]
    if not learners:
        return None
    conditions = sorted({panel[:3] for panel in curves})
    kinds = sorted({kind for lines in curves.values() for kind in lines})
    size = (1 + 3.4 * len(learners), 1 + 2.4 * len(conditions))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(conditions), len(learners), sharex=True, squeeze=False)
    for i, (n_way, n_shot, share) in enumerate(conditions):
        for j, learner in enumerate(learners):
            axes = grid[i, j]
            lines = curves.get((n_way, n_shot, share, learner), {})
            for kind, rows in lines.items():
                _curve(axes, rows, kind, f"C{kinds.index(kind)}")
            axes.set_xscale("symlog", linthresh=100)
            title = f"{learner}, {n_way}-way {n_shot}-shot, {100 * share:g} % of the labels"
            axes.set_title(title, fontsize=8)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("episodes of meta-training", fontsize=9)
    figure.supylabel("error in %", fontsize=9)
    return figure


def _kind(row: dict[str, Any]) -> str:
    """An encoder as a legend names it, without its share of labels."""
    latents = "" if row["latents"] == "all" else f" [{row['latents']}]"
    unguided = "vae" if row["encoder"] == "pretrained" else row["encoder"]
    return (" + ".join(row["guidance"]) or unguided) + latents


def _curve(axes: "Axes", rows: Sequence[dict[str, Any]], label: str, colour: str) -> None:
    episodes = [row["train_episodes"] for row in rows]
    axes.plot(episodes, [r["error"] for r in rows], "o-", color=colour, markersize=3, label=label)
    intervals = [row["error_ci95_seeds"] for row in rows]
    if all(intervals):
        low, high = zip(*intervals, strict=True)
        axes.fill_between(episodes, low, high, color=colour, alpha=0.15, linewidth=0)


def learning_curves_figure(outcome: "Outcome") -> "Figure | None":
    """Validation score against steps for every pretrained arm; one thin line a seed."""
    from matplotlib.figure import Figure

    curves = {key: cell.facts["history"] for key, cell in outcome.encoders.items()}
    curves = {key: history for key, history in curves.items() if history}
    if not curves:
        return None
    arms = list(dict.fromkeys(name for name, _ in curves))
    # An arm without the ELBO has one that means nothing.
    with_elbo = {k for k in curves if outcome.encoders[k].facts["depends"].get("elbo", True)}
    figure = Figure(figsize=(8 if with_elbo else 4, 3.2), layout="constrained")
    figure.suptitle("on the validation classes", fontsize=10)
    panels = figure.subplots(1, 2 if with_elbo else 1, squeeze=False)[0]
    labels = {"score": "score (lower is better)", "negative_elbo": "negative ELBO, nats per image"}
    for (name, seed), history in curves.items():
        steps = [entry["step"] for entry in history]
        shown = labels if (name, seed) in with_elbo else ["score"]
        for axes, key in zip(panels, shown, strict=False):
            label = name if axes.get_legend_handles_labels()[1].count(name) == 0 else None
            colour = f"C{arms.index(name)}"
            axes.plot(steps, [e[key] for e in history], color=colour, linewidth=1, label=label)
    for axes, label in zip(panels, labels.values(), strict=False):
        axes.set_ylabel(label)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8)
    return figure


@torch.no_grad()
def episode_figure(
    learner: Learner,
    bank: ImageBank,
    setting: Setting,
    seed: int,
    n_shown: int = 8,
) -> "Figure":
    """The first episode: support on the left, queries on the right, wrong ones framed in red.

    The number under a wrong query is the class (row) that the learner took it for.
    """
    from matplotlib.figure import Figure

    rows = EpisodeSampler(bank, setting, seed)[0]
    episode = rows.gather(bank.images)
    with torch.no_grad():
        best = learner.logits(episode)[0].argmax(1)
    predicted = best.view(setting.n_way, setting.n_query).tolist()
    n_shown = min(n_shown, setting.n_query)
    shots = min(setting.n_shot, 5)
    columns = shots + n_shown
    figure = Figure(figsize=(0.7 * columns + 0.8, 0.8 * setting.n_way + 0.5), layout="constrained")
    grid = figure.subplots(setting.n_way, columns, squeeze=False)
    for way in range(setting.n_way):
        for column in range(columns):
            axes = grid[way, column]
            query = column - shots
            image = episode.support[0, way, column] if query < 0 else episode.query[0, way, query]
            axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            if query >= 0:
                _frame(axes, predicted[way][query], way)
        grid[way, 0].set_ylabel(str(way), rotation=0, labelpad=8)
    grid[0, 0].set_title("support", fontsize=8)
    grid[0, shots].set_title("queries", fontsize=8)
    return figure


def _frame(axes: "Axes", predicted: int, true: int) -> None:
    right = predicted == true
    for side in axes.spines.values():
        side.set_edgecolor("tab:green" if right else "tab:red")
        side.set_linewidth(2)
    if not right:
        axes.set_xlabel(str(predicted), fontsize=8, color="tab:red", labelpad=1)
