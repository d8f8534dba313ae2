"""TensorBoard's view of a finished study: test errors, means over seeds, and a table of arms."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewshot.config import describe
from fewshot.data.bank import ImageBank
from fewshot.logs import REPORT, REPORT_PAGE, events_folder, remove_reports
from fewshot.study.arm_config import ArmConfig
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.encoder_facts import kept
from fewshot.study.outcome import Outcome
from fewshot.study.projector import write_projector
from fewshot.study.result import StudyResult
from fewshot.study.rows import ResultRow
from fewshot.study.scores import guidance_names, percent
from guided.encoder import Encoder
from guided.training.log import RunLog
from guided.training.log_tags import FEW_SHOT_ERROR, TEST, VALIDATION

History = list[dict[str, float]]

CURVES = {
    "Validation": ("1_validation/",),
    "Test": ("2_test/",),
    "Losses": ("3_loss/reconstruction", "3_loss/kl", "3_loss/total"),
}


@dataclass
class Points:
    """Numbers of one arm and seed at one step, by name within their group.

    Attributes:
        test: errors in percent, and differences in percentage points.
        descriptions: of these.
        kept: the step that was kept, and the score that it was kept for.
        step: at which they are entered.
    """

    test: dict[str, float] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)
    step: int = 0


def write_board(
    config: StudyConfig,
    outcome: Outcome,
    result: StudyResult,
    counts: Counts,
    test: ImageBank,
    output: Path,
) -> None:
    """Write event files beside those of the trainings; an earlier report's are removed.

    ``ARM/seedN`` has the test errors at the step that was kept, and a row in the table of
    hyper-parameters, and for the first seed embeddings of test images; ``ARM/mean`` has the means
    over seeds of validations and test errors; ``_report`` has the layout of charts.

    Args:
        config: of the study.
        outcome: its finished cells.
        result: its rows.
        counts: of wrong answers.
        test: images to embed.
        output: the run folder.
    """
    remove_reports(output)
    points = _points(config, outcome, result, counts)
    for (name, seed), found in points.items():
        with _log(output, f"{name}/seed{seed}") as log:
            _enter(log, found)
            _hparams(log, config, name, seed)
    for name in config.arms:
        own = [points[name, seed] for seed in config.seeds]
        with _log(output, f"{name}/mean") as log:
            _enter(log, _mean(own))
            histories = [outcome.encoders[name, s].facts["history"] for s in config.seeds]
            _curves(log, score_name(config, name), histories)
    with _log(output, REPORT_PAGE) as log:
        log.layout(_layout(points, outcome, config))
        _experiment(log, config, points)
    seed = config.seeds[0]
    for name in config.arms:
        file = outcome.encoders[name, seed].encoder_file
        if file.exists():  # a person may have removed the weights of a finished study
            folder = events_folder(output, f"{name}/seed{seed}")
            write_projector(folder, f"{name}, test images", Encoder.load(file), test)


def tag_of(row: ResultRow) -> str:
    """Name of a row's errors within their group, e.g. ``5w1s_prototypical_error_%``."""
    part = "" if row.latents == "all" else f"_{row.latents}"
    return f"{row.label}_{row.learner}{part}_error_%"


def score_name(config: StudyConfig, arm: str) -> str:
    """The name in the log of what the states of an arm's pretraining are compared by."""
    if config.select_by != "negative_elbo":
        return FEW_SHOT_ERROR
    return "reconstruction" if config.arms[arm].autoencoder else "negative_elbo"


def _log(output: Path, name: str) -> RunLog:
    return RunLog(events_folder(output, name), suffix=REPORT)


def _points(
    config: StudyConfig, outcome: Outcome, result: StudyResult, counts: Counts
) -> dict[tuple[str, int], Points]:
    points = {}
    for key, cell in outcome.encoders.items():
        points[key] = Points()
        if entry := kept(cell.facts["history"]):
            step, score = int(entry["step"]), entry["score"]
            points[key].step = step
            points[key].kept = {"kept_step": step, f"kept_{score_name(config, key[0])}": score}
    errors = percent(result.rows, counts)
    for row in result.rows:
        for place, seed in enumerate(row.seeds):
            own = points[row.arm, seed]
            own.test[tag_of(row)] = float(errors[row.key][place].mean())
            for pair in row.pairs:
                partner = errors[row.key_of(pair)][place]
                difference = float((errors[row.key][place] - partner).mean())
                name = f"{tag_of(row).removesuffix('_%')}_minus_{pair.partner}"
                own.test[name] = difference
                own.descriptions[name] = (
                    f"This error minus that of {pair.partner}, in percentage points, on the same "
                    "episodes; below 0: this one errs less."
                )
            own.descriptions[tag_of(row)] = (
                f"Mean error in percent of {row.learner}, fed {row.latents}, on {row.n_way}-way "
                f"{row.n_shot}-shot test episodes, of the state that was kept."
            )
    return points


def _enter(log: RunLog, points: Points) -> None:
    log.scalars(TEST, points.test, points.step, points.descriptions)
    about = dict.fromkeys(points.kept, "Of the state that was kept.")
    log.scalars(VALIDATION, points.kept, points.step, about)


def _mean(seeds: list[Points]) -> Points:
    def mean(values: list[Mapping[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([v[name] for v in values])) for name in values[0]}

    return Points(
        mean([own.test for own in seeds]),
        {name: f"Mean over seeds. {said}" for name, said in seeds[0].descriptions.items()},
        mean([own.kept for own in seeds]) if all(own.kept for own in seeds) else {},
        round(float(np.mean([own.step for own in seeds]))),
    )


def _curves(log: RunLog, score: str, histories: list[History]) -> None:
    """Means of the validations at those steps that every seed reached."""
    by_step = [{int(entry["step"]): entry for entry in h if "step" in entry} for h in histories]
    for step in sorted(set.intersection(*map(set, by_step))):
        entries = [entries[step] for entries in by_step]
        names = {score: "score"} | {
            name: name for name in entries[0] if name not in ("step", "score")
        }
        shared = {
            shown: float(np.mean([entry[name] for entry in entries]))
            for shown, name in names.items()
            if all(name in entry for entry in entries)
        }
        log.scalars(VALIDATION, shared, step)


def hyper_parameters(config: StudyConfig, name: str, seed: int) -> dict[str, str | float]:
    """The row of an arm and seed in the table of hyper-parameters."""
    arm = config.arms[name]
    values: dict[str, str | float] = {
        "study": config.study,
        "arm": name,
        "encoder": arm.kind,
        "guidance": ", ".join(guidance_names(arm.guidance)) or "none",
        "weights": ", ".join(_weights(arm)) or "none",
        "seed": str(seed),  # a number would be shown with four decimals
    }
    if arm.encoder in ("pretrained", "random"):
        values["latents"] = config.pretrain.latent_dim
    if arm.encoder == "pretrained":
        values["steps"] = arm.steps or config.pretrain.steps
    return values


def _weights(arm: ArmConfig) -> Iterator[str]:
    for entry in describe(list(arm.guidance)):
        for key, value in entry.get("init_args", {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{key} {value:g}"


def _hparams(log: RunLog, config: StudyConfig, name: str, seed: int) -> None:
    if log.active:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        values = hyper_parameters(config, name, seed)
        # Rows of the same name are averaged, and several studies may be on one page.
        log.summary(hparams_pb(values, trial_id=f"{config.study}/{name}/seed{seed}"))


def _experiment(log: RunLog, config: StudyConfig, points: Mapping[tuple[str, int], Points]) -> None:
    """The columns of the table of hyper-parameters."""
    from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams_config_pb

    rows = [hyper_parameters(config, *key) for key in points]
    found = [f"{VALIDATION}/{name}" for own in points.values() for name in own.kept]
    found += [f"{TEST}/{name}" for own in points.values() for name in own.test]
    log.summary(
        hparams_config_pb(
            [HParam(name) for name in dict.fromkeys(name for row in rows for name in row)],
            [Metric(tag) for tag in dict.fromkeys(found)],
        )
    )


def _layout(
    points: Mapping[tuple[str, int], Points], outcome: Outcome, config: StudyConfig
) -> dict[str, dict[str, list[str]]]:
    """Category -> title of a chart -> patterns of its curves: every run is a line in it."""
    measured = {
        score_name(config, arm) if name == "score" else name
        for (arm, _), cell in outcome.encoders.items()
        for entry in cell.facts["history"]
        for name in entry
        if name != "step"
    }
    tags = [f"{VALIDATION}/{name}" for name in measured] + list(CURVES["Losses"])
    tags += [f"{TEST}/{name}" for own in points.values() for name in own.test]
    return {
        title: {
            tag.partition("/")[2]: [f"^{re.escape(tag)}$"]
            for tag in sorted(set(tags))
            if tag.startswith(prefixes)
        }
        for title, prefixes in CURVES.items()
    }
