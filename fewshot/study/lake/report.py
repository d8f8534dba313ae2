"""Lake's task: rows, table and files, beside the errors that others report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewshot.statistics import Crossed, Errors, Interval
from fewshot.study.cells import Seconds
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.lake.classify import SETTING, Classified
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.runs import LakeRuns
from fewshot.study.published import Published
from fewshot.study.report import write_pages
from fewshot.study.result import Result, provenance
from fewshot.study.rows import LakeRow, rounded
from fewshot.study.scores import columns, scored
from fewshot.study.tables import lake_table

_KEY = f"{SETTING.label} within alphabet"

PUBLISHED = tuple(
    Published(name, {_KEY: error}, source)
    for name, error, source in (
        ("BPL", 3.3, "Lake et al. 2015"),
        ("people", 4.5, "Lake et al. 2015"),
        ("ConvNet", 13.5, "Lake et al. 2015"),
        ("pixels, modified Hausdorff distance", 38.8, "demo beside all_runs.zip"),
    )
)
"""Errors on Lake's own runs of models that were trained on the background set alone."""


@dataclass(frozen=True, kw_only=True)
class LakeResult(Result[LakeRow]):
    """Rows and table of Lake's task; see :class:`.Result` for the attributes."""

    row_type = LakeRow
    file_name = "lake.json"
    counts_name = "lake.npz"

    @staticmethod
    def score(rows: Sequence[LakeRow], counts: Counts) -> list[LakeRow]:
        return score_runs(rows, counts)

    @property
    def table(self) -> str:
        """Whose runs they are, the rows, and the errors that others report, as Markdown."""
        return lake_table(self.rows, self.published, self.facts["task"], self.facts["trials"])


def binomial_ci95(error: float, trials: int) -> Interval:
    """Wilson's interval for an error rate in percent, from trials taken as independent.

    Args:
        error: in percent; rounded to a whole number of wrong trials.
        trials: of one seed.
    """
    from scipy.stats import binomtest

    interval = binomtest(round(error * trials / 100), trials).proportion_ci(0.95, "wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def score_runs(rows: Sequence[LakeRow], counts: Counts) -> list[LakeRow]:
    """The rows with scores from wrong answers ``[seeds, runs, 20]``; trials take the place of
    episodes."""
    errors = {row.key: 100.0 * counts.wrong[row.key] for row in rows if row.key in counts.wrong}
    trials = {key: values.reshape(len(values), -1) for key, values in errors.items()}
    return [
        replace(
            row,
            error_by_seed=rounded(tuple(trials[row.key].mean(1))),
            error_ci95=(
                row.error_ci95
                if len(row.seeds) > 1
                else rounded(binomial_ci95(row.error, trials[row.key].shape[1]))
            ),
            error_ci95_runs=rounded(_over_runs(errors[row.key].mean(2))),
        )
        for row in scored(rows, trials, counts)
    ]


def _over_runs(errors: Errors) -> Interval | None:
    return Crossed.of(errors).interval if errors.shape[1] > 1 else None


def lake_rows(config: StudyConfig, counts: Counts) -> list[LakeRow]:
    """One row for each arm, learner and latents."""
    conditions = [(arm, learner, latents, SETTING) for arm, learner, latents, _ in counts.wrong]
    rows = [
        LakeRow(**columns(config, condition, conditions), runs=n_runs, trials=n_runs * n_tests)
        for condition, (_, n_runs, n_tests) in zip(
            conditions, (wrong.shape for wrong in counts.wrong.values()), strict=True
        )
    ]
    return score_runs(rows, counts)


def write_lake_report(
    config: StudyConfig,
    classified: Classified,
    runs: LakeRuns,
    output: Path,
    *,
    seconds: Seconds,
    device: str = "cpu",
) -> LakeResult:
    """Write ``lake.json``, ``lake.npz``, ``lake.md``, the figures and TensorBoard's page.

    Args:
        config: of the command.
        classified: answers of every arm, seed and learner.
        runs: the task.
        output: the run folder.
        seconds: of the study and of classifying.
        device: where it was computed.
    """
    counts = classified.counts()
    counts.save(output / LakeResult.counts_name)
    result = LakeResult(
        study=config.study,
        rows=tuple(lake_rows(config, counts)),
        published=PUBLISHED,
        seconds=seconds.total,
        seconds_reused=seconds.reused,
        facts={
            "task": runs.title,
            "source": runs.source,
            "trials": runs.trials,
            "run_names": list(runs.names),
            "images": runs.digest,
            **provenance(config, device),
        },
        output=output,
    )
    figures = {"lake": lake_figure(result.rows, PUBLISHED, runs.title)}
    for key, predicted in classified.predicted.items():
        # One for each arm: the first of its seeds, latents and learners.
        if f"lake/{key.arm}" not in figures:
            title = f"{key.arm}, {key.learner}" + (
                "" if key.latents == "all" else f" on {key.latents}"
            )
            title += f", seed {key.seed}; {runs.names[0]}"
            figures[f"lake/{key.arm}"] = run_figure(runs, predicted, title)
    write_pages(output, "lake", {"lake": result.table}, figures)
    return result.save()
