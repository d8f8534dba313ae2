"""``fewshot report``: rows, tables and figures of a finished study, from its counts alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.config import parse
from fewshot.study.counts import Counts
from fewshot.study.lake.figures import lake_figure
from fewshot.study.lake.report import LakeResult
from fewshot.study.latents.report import LatentsResult, latents_figure
from fewshot.study.report import row_figures, texts, write_pages
from fewshot.study.result import Result, StudyResult, read_result
from guided.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportCommand:
    """Rows, tables and figures of a finished study again, from its counts of wrong answers.

    Nothing is trained and no image is read. Pictures of encoders and of episodes, which counts
    cannot give, stay where the study wrote them.

    Args:
        results: results.json, lake.json or a published JSON file, with its counts (``.npz``)
            beside it, or the run folder of a comparison.
        output: folder to write to; runs/report/<study> if not given.
    """

    results: Path
    output: Path | None = None


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    named = arguments[:1] if arguments and not arguments[0].startswith("-") else ()
    given = ["--results", *named] if named else []
    config = parse(ReportCommand, [*given, *arguments[len(named) :]], "fewshot report")
    source = config.results / "results.json" if config.results.is_dir() else config.results
    kind = kind_of(read_result(source))
    result = kind.load(source)
    counts = kind.load_counts(source)
    again = result.rescored(counts)
    output = config.output or Path("runs") / "report" / result.study
    if (output / "config.yaml").exists() or output.resolve() == source.parent.resolve():
        raise InputError(f"output: {output} holds a study; name another folder")
    counts.save(output / kind.counts_name)
    _write(again, counts, output)
    replace(again, output=output).save()
    print(f"\n{again if isinstance(again, StudyResult) else again.table}")
    changed = sum(old != new for old, new in zip(result.rows, again.rows, strict=True))
    same = f"all {len(again.rows)} rows are those of {source}"
    different = f"{changed} of {len(again.rows)} rows differ from those of {source}"
    print(f"\n{different if changed else same}; results and figures in {output}")


def kind_of(content: Mapping[str, Any]) -> type[StudyResult | LakeResult | LatentsResult]:
    """The class of a result's content."""
    columns = content["rows"][0]
    if "trials" in columns:
        return LakeResult
    return LatentsResult if "latent_dim" in columns else StudyResult


def _write(result: Result[Any], counts: Counts, output: Path) -> None:
    figures: dict[str, Figure | None]
    if isinstance(result, StudyResult):
        write_pages(output, "report", texts(result), row_figures(result, counts))
    elif isinstance(result, LakeResult):
        figures = {"lake": lake_figure(result.rows, result.published)}
        write_pages(output, "lake", {"lake": result.table}, figures)
    elif isinstance(result, LatentsResult):
        figures = {"latents": latents_figure(result.study, result.rows, result.published)}
        write_pages(output, "report", {"table": result.table}, figures)
