"""Lake's task: rows, table and files, beside the errors that others report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.logs import LAKE_PAGE
from fewshot.printing import Paint, filled, plain
from fewshot.statistics import Crossed, Errors, Interval
from fewshot.study.cells import Cells
from fewshot.study.choices import Choice, choices_table
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.html.plain import write_plain
from fewshot.study.lake.classify import SETTING, Classified
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.tables import FEW_TRIALS, lake_table
from fewshot.study.pivot import learner_entries, published_entries, summary
from fewshot.study.published import Published
from fewshot.study.report import write_pages
from fewshot.study.result import Result, provenance
from fewshot.study.rows import LakeRow, rounded
from fewshot.study.scores import columns, scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    page_name = "lake.html"
    counts_name = "lake.npz"

    @staticmethod
    def score(rows: Sequence[LakeRow], counts: Counts) -> list[LakeRow]:
        return score_runs(rows, counts)

    def summary(self, width: int = 80, paint: Paint = plain) -> str:
        own = published_entries(self.published, {_KEY: "own"} if self._has_own else {})
        blocks = [learner_entries(self.rows, lambda row: row.source), own]
        notes = [FEW_TRIALS] if self._has_own else []
        tables = summary(self.rows, "trials", blocks, width, paint)
        return "\n".join([tables, *(f"\n{filled(note, width)}" for note in notes)])

    @property
    def _has_own(self) -> bool:
        return any(row.source == "own" for row in self.rows)

    @property
    def table(self) -> str:
        """Whose runs they are, the rows beside what others report, and what was chosen."""
        return lake_table(self.rows, self.published) + choices_table(self.choices)


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
    """One row for each arm, learner, latents and kind of runs."""
    conditions = [(arm, learner, latents, SETTING) for arm, learner, latents, *_ in counts.wrong]
    rows = []
    for condition, (key, wrong) in zip(conditions, counts.wrong.items(), strict=True):
        _, runs, tests = wrong.shape
        described = columns(config, condition, conditions)
        rows.append(LakeRow(**described, source=key[-1], runs=runs, trials=runs * tests))
    return score_runs(rows, counts)


def write_lake_report(
    config: StudyConfig,
    classified: Sequence[Classified],
    output: Path,
    *,
    choices: Sequence[Choice],
    cells: Cells,
    device: str = "cpu",
) -> LakeResult:
    """Write ``lake.json``, ``lake.npz``, ``lake.md``, ``lake.html`` and the figures.

    TensorBoard's page has the table and the figures too.

    Args:
        config: of the command.
        classified: answers of every arm, seed and learner to each kind of runs.
        output: the run folder.
        choices: settings that were chosen on the validation classes.
        cells: of the study and of classifying.
        device: where it was computed.
    """
    counts = Counts({key: wrong for answers in classified for key, wrong in answers.wrong.items()})
    counts.save(output / LakeResult.counts_name)
    kinds = [answers.runs for answers in classified]
    result = LakeResult(
        study=config.study,
        rows=tuple(lake_rows(config, counts)),
        choices=tuple(choices),
        published=PUBLISHED,
        seconds=cells.seconds.total,
        seconds_reused=cells.seconds.reused,
        facts={
            "runs": {r.source: {"images": r.digest, "names": list(r.names)} for r in kinds},
            **provenance(config, device, cells),
        },
        output=output,
    )
    figures = {"lake": lake_figure(result.rows, PUBLISHED), **_sheets(classified[0])}
    write_pages(output, LAKE_PAGE, {"lake": result.table}, figures)
    saved = result.save()
    write_lake_page(result, output, [name for name in figures if name != "lake"])
    return saved


def write_lake_page(result: LakeResult, output: Path, sheets: Sequence[str] = ()) -> None:
    """Write ``lake.html``; the figures must be there.

    Args:
        result: its rows.
        output: the folder.
        sheets: names of the arms' contact sheets.
    """
    write_plain(
        output / "lake.html",
        f"{result.study}: Lake's task",
        "One of twenty characters of an alphabet is recognised from one drawing of each.",
        {"Errors and differences": result.table},
        {"Errors beside published ones": "lake.png"} | {name: f"{name}.png" for name in sheets},
        result.to_json(),
        ("lake.json", "lake.npz", "lake.md", "lake.yaml", "report.html"),
    )


def _sheets(classified: Classified) -> "dict[str, Figure | None]":
    """The first run and the answers to it, for the first seed, latents and learner of each arm."""
    runs = classified.runs
    figures: dict[str, Figure | None] = {}
    for key, predicted in classified.predicted.items():
        if f"lake/{key.arm}" not in figures:
            latents = "" if key.latents == "all" else f" on {key.latents}"
            title = f"{key.arm}, {key.learner}{latents}, seed {key.seed}; {runs.names[0]}"
            figures[f"lake/{key.arm}"] = run_figure(runs, predicted, title)
    return figures
