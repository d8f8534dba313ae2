"""The report of a study: files, figures and TensorBoard's page, written from what was computed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.config.description import to_yaml
from fewshot.data.dataset import Splits
from fewshot.logs import REPORT_PAGE, remove_page
from fewshot.runs import other_studies
from fewshot.study.board import write_board
from fewshot.study.cell_index import CellIndex, write_index
from fewshot.study.cells import FORMAT
from fewshot.study.colours import arm_styles
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Counts, EpisodeList
from fewshot.study.curves import budgets_figure, learning_curves_figure
from fewshot.study.figures import differences_figure, episode_figure, errors_figure
from fewshot.study.html.content import Content
from fewshot.study.html.page import FILE as PAGE
from fewshot.study.html.page import write_comparisons
from fewshot.study.html.verdicts import faults
from fewshot.study.outcome import Outcome
from fewshot.study.pivot import learner_entries, legend, pivot_markdown
from fewshot.study.result import StudyResult, provenance
from fewshot.study.scores import described_rows, percent, score_episodes, stack
from guided.storage.files import write_bytes
from guided.training.log import RunLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(
    config: StudyConfig,
    outcome: Outcome,
    episodes: Mapping[str, EpisodeList],
    splits: Splits,
    output: Path,
    device: str,
    doubts: Sequence[str] = (),
) -> StudyResult:
    """Write ``results.json``, ``episodes.npz``, ``table.md``, ``report.html`` and the figures.

    TensorBoard's page has the tables and figures too.

    Args:
        config: of the study.
        outcome: its finished cells.
        episodes: of each setting.
        splits: the images.
        output: the run folder.
        device: where it was computed.
        doubts: reasons to doubt errors on these images.
    """
    wrong = stack(outcome.wrong)
    independent = None if splits.test.turned else splits.test.n_classes
    rows = described_rows(config, list(wrong), independent)
    counts = Counts({row.key: wrong[c] for row, c in zip(rows, wrong, strict=True)}, episodes)
    result = StudyResult(
        study=config.study,
        rows=tuple(score_episodes(rows, counts)),
        diagnostics=tuple(outcome.diagnostics),
        encoders=tuple(outcome.encoder_facts),
        choices=tuple(outcome.choices),
        disentanglement=tuple(outcome.disentanglement),
        published=tuple(config.published),
        seconds=outcome.seconds.total,
        seconds_reused=outcome.seconds.reused,
        facts={
            "noticed": [*doubts, *other_studies(output, config)],
            "costs": [cost.to_json() for cost in outcome.costs],
            **_identity(splits),
            **provenance(config, device, outcome.cells),
        },
        output=output,
    )
    counts.save(output / result.counts_name)
    write_index(outcome, output)
    content = Content(result, counts, CellIndex.load(output), output / result.file_name)
    result = replace(result, facts={**result.facts, "warnings": faults(content)})
    figures = {
        **row_figures(result, counts),
        "learning_curves": learning_curves_figure(outcome.curves, arm_styles(config.arms)),
        **{f"episodes/{arm}": episode_figure(outcome.answers_of(arm)) for arm in config.arms},
    }
    write_pages(output, REPORT_PAGE, {"table": result.table}, figures, texts(result))
    write_board(config, outcome, result, counts, splits.test, output)
    saved = result.save()
    write_comparisons([replace(content, result=saved)], output / PAGE)
    return saved


def _identity(splits: Splits) -> dict[str, Any]:
    """What the study is of, and the version of the code: runs that are joined have the same."""
    banks = vars(splits)
    return {
        "classes": {name: bank.n_classes for name, bank in banks.items()},
        "images": {name: bank.digest for name, bank in banks.items()},
        "format": FORMAT,
    }


def texts(result: StudyResult) -> dict[str, str]:
    """The texts that TensorBoard shows before the table, as Markdown: it sorts them by name."""
    explained = legend(result.rows, "episodes", width=1000).replace("*", r"\*")
    errors = [pivot_markdown(learner_entries(result.rows)), *explained.splitlines()]
    return {
        "1_verdicts": "\n\n".join(result.verdicts) or "no comparison",
        "2_errors": "\n\n".join(errors),
        "3_configuration": f"```yaml\n{to_yaml(result.facts.get('config', {}))}```",
    }


def row_figures(result: StudyResult, counts: Counts) -> "dict[str, Figure | None]":
    """The figures that are drawn from rows and their counts."""
    errors = percent(result.rows, counts)
    return {
        "errors": errors_figure(result.study, result.rows, errors),
        "paired_differences": differences_figure(result.study, result.rows, errors),
        "budgets": budgets_figure(result.rows),
    }


def write_pages(
    output: Path,
    page: str,
    tables: Mapping[str, str],
    figures: "Mapping[str, Figure | None]",
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write tables as Markdown, figures as PNG, and all of them as a page of TensorBoard.

    Args:
        output: the run folder.
        page: name of the run in TensorBoard; an earlier report's events are removed.
        tables: name -> Markdown, written to ``NAME.md``.
        figures: name -> figure; None for one that does not apply.
        texts: name -> Markdown, for TensorBoard alone.
    """
    remove_page(output, page)
    for name, table in tables.items():
        write_bytes(output / f"{name}.md", table.encode())
    with RunLog(output / page) as log:
        for name, text in {**(texts or {}), **tables}.items():
            log.text(name, text)
        for name, figure in figures.items():
            if figure is not None:
                log.figure(name, figure, file=output / f"{name}.png")
