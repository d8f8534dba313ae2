"""Lake's task: rows, table and files, beside the errors that others report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.statistics import Interval, ci95_over_episodes
from fewshot.study.cells import Seconds
from fewshot.study.config import StudyConfig
from fewshot.study.lake.classify import SETTING, Classified
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.runs import N_CHARACTERS, LakeRuns
from fewshot.study.report import write_pages
from fewshot.study.result import Result, provenance
from fewshot.study.rows import EpisodeErrors, LakeRow, Published, rounded
from fewshot.study.scores import columns, stack
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

    @property
    def table(self) -> str:
        """Whose runs they are, the rows, and the errors that others report, as Markdown."""
        return lake_table(self.rows, self.published, self.facts["task"], self.facts["trials"])


def binomial_ci95(error: float, trials: int) -> Interval:
    """Wilson's interval for an error rate in percent, from trials taken as independent.

    With several seeds ``error`` is their mean and ``trials`` are those of one: the seeds answer
    the same trials, and more of them pin down the trials' difficulty no better.

    Args:
        error: in percent; rounded to a whole number of wrong trials.
        trials: of one seed.
    """
    from scipy.stats import binomtest

    interval = binomtest(round(error * trials / 100), trials).proportion_ci(0.95, "wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def lake_rows(config: StudyConfig, errors: Sequence[EpisodeErrors]) -> list[LakeRow]:
    """One row for each arm, learner and latents; runs take the place of episodes."""
    table = stack(errors)
    rows = []
    for condition, values in table.items():
        n_runs = values.shape[1]
        trials = n_runs * N_CHARACTERS
        rows.append(
            LakeRow(
                **columns(config, table, condition),
                runs=n_runs,
                trials=trials,
                error_by_seed=rounded(tuple(values.mean(1))),
                error_ci95_binomial=rounded(binomial_ci95(float(values.mean()), trials)),
                error_ci95_runs=rounded(ci95_over_episodes(values)),
            )
        )
    return rows


def write_lake_report(
    config: StudyConfig,
    classified: Classified,
    runs: LakeRuns,
    output: Path,
    *,
    seconds: Seconds,
    device: str = "cpu",
) -> LakeResult:
    """Write ``lake.json``, ``lake.md``, the figures and TensorBoard's page.

    Args:
        config: of the command.
        classified: answers of every arm, seed and learner.
        runs: the task.
        output: the run folder.
        seconds: of the study and of classifying.
        device: where it was computed.
    """
    result = LakeResult(
        study=config.study,
        baseline=config.baseline,
        rows=tuple(lake_rows(config, classified.errors())),
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
    figures = {"lake": lake_figure(result.rows, PUBLISHED, runs.title, runs.trials)}
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
