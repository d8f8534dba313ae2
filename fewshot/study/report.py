"""From a study's errors to rows, tables and files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewshot.config import describe, made_by, settings_of
from fewshot.data.dataset import Splits
from fewshot.environment import hardware, versions
from fewshot.episodes import Setting
from fewshot.evaluation import EpisodeErrors
from fewshot.statistics import ci95_over_episodes, ci95_over_seeds, paired_difference
from fewshot.study.config import StudyConfig, is_meta_trained
from fewshot.study.figures import (
    baseline_name,
    budgets_figure,
    differences_figure,
    episode_figure,
    errors_figure,
    learning_curves_figure,
)
from fewshot.study.outcome import Outcome, load_learner
from guided.files import write_arrays, write_bytes, write_figure, write_json
from guided.seeds import derive_seed
from guided.training.log import RunLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Condition = tuple[str, str, str, Setting]
"""(arm, learner, latents, setting): what a row of the results is about."""


def stack(errors: list[EpisodeErrors]) -> dict[Condition, NDArray[np.float32]]:
    """Errors ``[seeds, episodes]`` of each condition, seeds in the order in which they ran."""
    rows: dict[Condition, list[NDArray[np.float32]]] = {}
    for entry in errors:
        key = (entry.arm, entry.learner, entry.latents, entry.setting)
        rows.setdefault(key, []).append(entry.errors.numpy())
    return {key: np.stack(seeds) for key, seeds in rows.items()}


def result_rows(config: StudyConfig, errors: list[EpisodeErrors]) -> list[dict[str, Any]]:
    """One dict a condition; errors in percent, intervals as ``[low, high]``.

    Each arm but the baseline is paired with it: same learner, setting, seeds and episodes; same
    latents where the baseline has them, else all of the baseline's first choice. A learner that
    names a baseline is paired with that learner on the same arm and latents instead.
    """
    table = stack(errors)
    return [_row(config, table, condition) for condition in table]


def _row(
    config: StudyConfig, table: dict[Condition, NDArray[np.float32]], condition: Condition
) -> dict[str, Any]:
    name, learner, latents, setting = condition
    arm, values = config.arms[name], table[condition]
    factory = config.learners[learner].learner
    views = config.learners[learner].test_augmentation
    train = config.learners[learner].train
    train = train if is_meta_trained(arm, config.learners[learner]) else None
    batch_norm = settings_of(factory).get("batch_norm", "frozen")
    row = {
        "arm": name,
        "encoder": arm.encoder,
        "guidance": [entry["class_path"] for entry in describe(arm.guidance)],
        "labelled": arm.labelled,
        "learner": learner,
        "latents": latents,
        "transductive": made_by(factory).transductive or batch_norm == "transductive",
        "batch_norm": batch_norm,
        "test_views": views.views if views else 0,
        "meta_trained": train is not None,
        "train_episodes": train.steps * train.episodes_per_step if train else 0,
        "n_way": setting.n_way,
        "n_shot": setting.n_shot,
        "n_query": setting.n_query,
        "seeds": config.seeds,
        "episodes": config.episodes,
        "error": _rounded(values.mean()),
        "error_ci95_seeds": _interval(ci95_over_seeds(values)),
        "error_ci95_episodes": _interval(ci95_over_episodes(values)),
        "paired_by": None,
        "paired_with": None,
        "paired_difference": None,
        "paired_difference_ci95": None,
        "relative_reduction": None,
    }
    partner = config.partner_of(name, learner)
    if partner is not None:
        row |= _pairing(config, table, condition, partner)
    return row


def _pairing(
    config: StudyConfig,
    table: dict[Condition, NDArray[np.float32]],
    condition: Condition,
    partner: tuple[str, str],
) -> dict[str, Any]:
    arm, learner = partner
    latents, setting = condition[2:]
    offered = config.arms[arm].latents
    of_partner = (arm, learner, latents if latents in offered else offered[0], setting)
    if of_partner not in table:  # a learner that was left out
        return {}
    paired = paired_difference(
        table[condition],
        table[of_partner],
        seed=derive_seed(config.episode_seed, "bootstrap"),
        resamples=config.resamples,
    )
    reduction = paired.relative_reduction
    return {
        "paired_by": "arm" if learner == condition[1] else "learner",
        "paired_with": arm if learner == condition[1] else learner,
        "paired_difference": _rounded(paired.difference),
        "paired_difference_ci95": _interval(paired.ci95),
        "relative_reduction": None if reduction is None else _rounded(reduction),
    }


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)


def _interval(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [_rounded(end) for end in interval]


HEADER = (
    "| arm | latents | learner | setting | error % | 95 % over seeds | 95 % over episodes "
    "| minus {baseline} | 95 % paired | reduction % |\n|---|---|---|---|---|---|---|---|---|---|"
)


def markdown_table(results: dict[str, Any]) -> str:
    """The rows as a Markdown table, grouped by setting and learner."""
    rows = sorted(
        results["rows"], key=lambda r: (r["n_way"], r["n_shot"], r["learner"])
    )  # stable: arms stay in the study's order
    lines = [HEADER.format(baseline=baseline_name(rows))]
    for row in rows:
        cells = [
            row["arm"],
            row["latents"],
            row["learner"],
            f"{row['n_way']}-way {row['n_shot']}-shot",
            f"{row['error']:.2f}",
            _range(row["error_ci95_seeds"]),
            _range(row["error_ci95_episodes"]),
            "–" if row["paired_difference"] is None else f"{row['paired_difference']:+.2f}",
            _range(row["paired_difference_ci95"]),
            "–" if row["relative_reduction"] is None else f"{row['relative_reduction']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_published_lines(results)]) + "\n"


def _published_lines(results: dict[str, Any]) -> list[str]:
    """A table of what others report."""
    published: dict[str, list[str]] = results.get("published", {})
    if not published:
        return []
    settings = dict.fromkeys((row["n_way"], row["n_shot"]) for row in results["rows"])
    heads = [f"{ways}-way {shots}-shot" for ways, shots in settings]
    lines = [
        "\n| published, error % | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
        *(published_line(name, errors) for name, errors in published.items()),
    ]
    if any("*" in error for errors in published.values() for error in errors):
        lines.append("\n\\* as remembered, not looked up.")
    return lines


def published_line(name: str, errors: list[str]) -> str:
    """What one of others reports, as a line of a Markdown table."""
    return f"| {name} | " + " | ".join(errors).replace("*", "\\*") + " |"


def _range(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f} … {interval[1]:.2f}"


def verdicts(results: dict[str, Any]) -> list[str]:
    """One sentence for each guided arm, on the study's first learner and setting.

    And one for each learner that is paired with another, on that setting, unless it is the same:
    what trains nothing changes no error.
    """
    first = results["rows"][0]
    setting = ("n_way", "n_shot", "n_query")
    lines = []
    for row in results["rows"]:
        if not row["paired_with"] or any(row[key] != first[key] for key in setting):
            continue
        of_learners = row["paired_by"] == "learner"
        if not of_learners and (not row["guidance"] or row["learner"] != first["learner"]):
            continue
        subject = f"{row['learner']} on {row['arm']}" if of_learners else row["arm"]
        low, high = row["paired_difference_ci95"]
        if of_learners and low == high == 0:
            continue
        verb = "lowers" if high < 0 else "raises" if low > 0 else "does not clearly change"
        lines.append(
            f"{subject} ({row['latents']}) {verb} the error of {row['paired_with']}: "
            f"{row['paired_difference']:+.2f} points, 95 % {low:.2f} … {high:.2f} "
            f"({row['n_way']}-way {row['n_shot']}-shot, {row['learner']}, "
            f"{len(row['seeds'])} seeds × {row['episodes']} episodes)"
        )
    return lines


def write_report(
    config: StudyConfig, outcome: Outcome, splits: Splits, output: Path, device: str
) -> dict[str, Any]:
    """Write ``results.json``, ``episodes.npz``, ``table.md``, the figures and TensorBoard's page.

    Returns:
        The content of ``results.json``.
    """
    results = {
        "study": config.study,
        "baseline": config.baseline,
        "rows": result_rows(config, outcome.errors),
        "diagnostics": outcome.diagnostics,
        "published": config.published,
        "classes": {name: bank.n_classes for name, bank in vars(splits).items()},
        "versions": versions(),
        "hardware": hardware(device),
        "seconds": round(outcome.seconds, 1),
        "config": describe(config, full=True),
    }
    arrays = {
        "|".join([arm, learner, latents, setting.label]): values
        for (arm, learner, latents, setting), values in stack(outcome.errors).items()
    }
    write_arrays(output / "episodes.npz", arrays)
    table = markdown_table(results)
    write_bytes(output / "table.md", table.encode())
    figures = _study_figures(results, outcome)
    episodes = _episode_figures(config, outcome, splits)
    with RunLog(fresh(output / "tensorboard" / "report")) as log:
        log.text("table", table)
        log.text("verdicts", "\n\n".join(verdicts(results)) or "no guided arm")
        for name, figure in {**figures, **episodes}.items():
            write_figure(output / f"{name}.png", figure)
            log.figure(name, figure)
    write_json(output / "results.json", results)
    return results


def _study_figures(results: dict[str, Any], outcome: Outcome) -> "dict[str, Figure]":
    candidates = {
        "errors": errors_figure(results),
        "paired_differences": differences_figure(results),
        "learning_curves": learning_curves_figure(outcome),
        "budgets": budgets_figure(results),
    }
    return {name: figure for name, figure in candidates.items() if figure is not None}


def fresh(folder: Path) -> Path:
    """Without an earlier report's events, which TensorBoard would show beside the new ones."""
    for file in folder.glob("events.out.tfevents.*"):
        file.unlink()
    return folder


def _episode_figures(config: StudyConfig, outcome: Outcome, splits: Splits) -> "dict[str, Figure]":
    """One test episode for each arm, first seed, learner and setting, with its predictions."""
    setting = config.settings[0]
    learner_name, learner = next(iter(config.learners.items()))
    seed = derive_seed(config.episode_seed, "test", setting.label)
    return {
        f"episodes/{name}": episode_figure(
            load_learner(
                learner,
                outcome.learners[name, config.seeds[0], learner_name, arm.latents[0]],
                arm.latents[0],
            ),
            splits.test,
            setting,
            seed,
        )
        for name, arm in config.arms.items()
    }
