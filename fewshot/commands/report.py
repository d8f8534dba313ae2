"""``fewshot report``: the page, rows, tables and figures of finished runs, from their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.config import parse
from fewshot.logs import LAKE_PAGE, REPORT_PAGE
from fewshot.printing import paint, width
from fewshot.study.counts import Counts
from fewshot.study.html.content import Content
from fewshot.study.html.page import FILE, write_comparisons
from fewshot.study.html.single.page import SECTIONS, write_runs
from fewshot.study.html.single.run import FinishedRun
from fewshot.study.joined import joined
from fewshot.study.lake.figures import lake_figure
from fewshot.study.lake.report import LakeResult, write_lake_page
from fewshot.study.latents.report import LatentsResult, latents_figures, write_latents_page
from fewshot.study.nica.report import NicaResult, write_nica
from fewshot.study.recorded import recorded
from fewshot.study.report import row_figures, texts, write_pages
from fewshot.study.result import Result, StudyResult, read_result, results_in
from guided.errors import InputError
from guided.storage.checksums import DamageError
from guided.storage.files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportCommand:
    """A finished run as one HTML page; of a study with its rows, tables and figures made again.

    Nothing is trained and no image is read: rows come from the counts of wrong answers, pictures
    and learning curves from the cells of the run folder, where these are at hand. Several
    comparisons are shown side by side on one page, and several runs of pretrain, train or evaluate;
    comparisons of one configuration with other seeds can be joined to one study.

    Args:
        results: run folders, or their results.json, lake.json or published JSON files, with their
            counts (``.npz``) beside them.
        output: folder to write to; runs/report/<study> if not given.
        join: make one study of the seeds of several comparisons, which differ in nothing else.
    """

    results: list[Path]
    output: Path | None = None
    join: bool = False

    def __post_init__(self) -> None:
        if not self.results:
            raise InputError("results: name at least one run folder or file")
        if len({path.resolve() for path in self.results}) < len(self.results):
            raise InputError("results: one is named twice")
        if self.join and len(self.results) < 2:
            raise InputError("join: name two run folders or files, or more")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse(ReportCommand, arguments, "fewshot report", words="results")
    sources = list(map(results_in, config.results))
    with recorded(*sources):
        _written(config, sources)


def _written(config: ReportCommand, sources: Sequence[Path]) -> None:
    commands = {source: command_of(source) for source in sources}
    if any(command in SECTIONS for command in commands.values()):
        if config.join:
            raise InputError("join: of comparisons alone; only their seeds are one study")
        _runs(config, commands)
    elif len(sources) > 1:
        _several(config, commands)
    elif commands[sources[0]] == "nica":
        _nica(config, sources[0])
    else:
        _one(config, kind_of(read_result(sources[0])), sources[0])


def command_of(source: Path) -> str:
    """The command that made a file of results.

    Raises:
        InputError: it is missing, or of none.
    """
    try:
        content: dict[str, Any] = read_json(source)
        if "command" in content:
            return str(content["command"])
        earlier = "study" not in content and ("history" in content or "rows" in content)
    except DamageError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{source}: not the result of a finished run ({error})") from error
    if earlier:
        raise InputError(f"{source}: of an earlier version, which kept too little for a page")
    if "scores" in content and "rows" not in content:
        return "nica"
    kinds = {StudyResult: "compare", LakeResult: "lake", LatentsResult: "probe"}
    return kinds[kind_of(read_result(source))]


def _runs(config: ReportCommand, commands: Mapping[Path, str]) -> None:
    """The page of runs of pretrain, train or evaluate."""
    _same(commands)
    sources = list(commands)
    runs = [FinishedRun.load(source) for source in sources]
    names = dict.fromkeys(run.name for run in runs)
    output = _checked(config.output or Path("runs") / "report" / "+".join(names), sources)
    write_runs(runs, output / FILE)
    several = f"{len(runs)} runs side by side in " if len(runs) > 1 else "everything on one page: "
    print(f"{several}{output / FILE}")


def _several(config: ReportCommand, commands: Mapping[Path, str]) -> None:
    """The page of several comparisons, or the study that they are together."""
    for source, command in commands.items():
        if command != "compare":
            raise InputError(
                f"results: {source} is no comparison; only these, and runs of pretrain, train or "
                "evaluate, share a page"
            )
    sources = list(commands)
    if config.join:
        _joined(config, sources)
        return
    studies = dict.fromkeys(StudyResult.load(source).study for source in sources)
    output = _checked(config.output or Path("runs") / "report" / "+".join(studies), sources)
    write_comparisons([Content.load(source) for source in sources], output / FILE)
    print(f"{len(sources)} studies side by side in {output / FILE}")


def _joined(config: ReportCommand, sources: Sequence[Path]) -> None:
    """Rows, tables, figures and page of the study that several runs are together."""
    whole = joined([Content.load(source) for source in sources])
    result = whole.result
    output = _checked(config.output or Path("runs") / "report" / result.study, sources)
    assert whole.counts is not None
    whole.counts.save(output / result.counts_name)
    content = replace(whole, file=output / result.file_name)
    _write_comparison(content, whole.counts, output)
    replace(result, output=output).save()
    print(f"\n{result.summary(width(), paint())}")
    print(f"\n{len(sources)} runs, {len(result.rows[0].seeds)} seeds joined in {output}")


def _same(commands: Mapping[Path, str]) -> None:
    """Refuse runs of different commands."""
    (first, command), *others = commands.items()
    for source, other in others:
        if other != command:
            raise InputError(
                f"results: {first} is of fewshot {command}, {source} of fewshot {other}; only "
                "runs of one command share a page"
            )


def _nica(config: ReportCommand, source: Path) -> None:
    """Tables, figure and page of a study of nonlinear ICA."""
    result = NicaResult.load(source)
    output = _checked(config.output or Path("runs") / "report" / result.study, [source])
    write_nica(result, output)
    print(f"\n{result.summary(width(), paint())}\n\npage, results and figure in {output}")


def _one(
    config: ReportCommand, kind: "type[StudyResult | LakeResult | LatentsResult]", source: Path
) -> None:
    result = kind.load(source)
    counts = kind.load_counts(source)
    again = result.rescored(counts)
    output = _checked(config.output or Path("runs") / "report" / result.study, [source])
    counts.save(output / kind.counts_name)
    _write(again, counts, source, output)
    replace(again, output=output).save()
    print(f"\n{again.summary(width(), paint())}")
    changed = sum(old != new for old, new in zip(result.rows, again.rows, strict=True))
    same = f"all {len(again.rows)} rows are those of {source}"
    different = f"{changed} of {len(again.rows)} rows differ from those of {source}"
    print(f"\n{different if changed else same}; page, results and figures in {output}")


def _checked(output: Path, sources: Sequence[Path]) -> Path:
    held = {source.parent.resolve() for source in sources}
    if (output / "config.yaml").exists() or output.resolve() in held:
        raise InputError(f"output: {output} holds a run; name another folder")
    return output


def kind_of(content: Mapping[str, Any]) -> type[StudyResult | LakeResult | LatentsResult]:
    """The class of a result's content."""
    columns = content["rows"][0]
    if "trials" in columns:
        return LakeResult
    return LatentsResult if "latent_dim" in columns else StudyResult


def _write(result: Result[Any], counts: Counts, source: Path, output: Path) -> None:
    figures: dict[str, Figure | None]
    if isinstance(result, StudyResult):
        _write_comparison(replace(Content.load(source), result=result), counts, output)
    elif isinstance(result, LakeResult):
        figures = {"lake": lake_figure(result.rows, result.published)}
        write_pages(output, LAKE_PAGE, {"lake": result.table}, figures)
        write_lake_page(result, output)
    elif isinstance(result, LatentsResult):
        write_pages(output, REPORT_PAGE, {"table": result.table}, latents_figures(result))
        write_latents_page(result, output)


def _write_comparison(content: Content, counts: Counts, output: Path) -> None:
    result = content.result
    tables, figures = {"table": result.table}, row_figures(result, counts)
    write_pages(output, REPORT_PAGE, tables, figures, texts(result))
    write_comparisons([content], output / FILE)
