"""Publish a finished study: its numbers, counts, report and figures, for pages and for others.

    python tools/publish.py RUN NAME [--figures FILE ...] [--join RUN ...]

RUN is a run folder of compare, lake, probe or nica, or a file of results in it; with --join, runs
of the same comparison with other seeds are published with it as one study. Written into
runs/published:

    NAME.json         rows and how they were made, without this machine's folders
    NAME.npz          every count of wrong answers, where the study has some
    NAME.html         the report as one page that needs no other file
    NAME_FIGURE.png   the figures that are named, for a page to show

A study is refused if it was not made from committed code, or if its configuration names a file
outside the current folder: nobody else could run it again.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot.commands.published import Source
from fewshot.commands.report import main as report
from fewshot.complaints import complaint
from fewshot.data.roots import data_root
from fewshot.environment import UNKNOWN
from fewshot.logs import REPORT_PAGE
from fewshot.study.cell_index import CellIndex
from fewshot.study.html.content import Content
from fewshot.study.html.page import write_comparisons
from fewshot.study.lake.figures import lake_figure
from fewshot.study.lake.report import LakeResult, write_lake_page
from fewshot.study.latents.report import LatentsResult, latents_figures, write_latents_page
from fewshot.study.nica.report import NicaResult, write_nica_page
from fewshot.study.recorded import plain_name
from fewshot.study.report import write_pages
from fewshot.study.result import RESULTS, Result, StudyResult, results_in, revisions_of
from guided.errors import InputError
from guided.storage.files import write_bytes, write_json

PUBLISHED = Path(__file__).resolve().parent.parent / "runs" / "published"
OF_THE_MACHINE = ("output", "data_root")
LARGEST = 5_000_000  # bytes of a page


def publish(
    run: Path,
    name: str,
    figures: Sequence[str] = (),
    folder: Path = PUBLISHED,
    others: Sequence[Path] = (),
) -> Path:
    """Write the files of a study; returns the JSON file.

    Args:
        run: its run folder, or the file of results in it.
        name: of the published study.
        figures: names of files in the run folder.
        folder: to write to.
        others: runs of the same study with other seeds.

    Raises:
        InputError: it is no finished study, or nobody else could run it again.
    """
    plain_name(name, "name")
    runs = [results_in(path) for path in (run, *others)]
    if len(runs) == 1:
        return _publish(runs[0], name, figures, folder, runs)
    for part in runs:
        _portable(Source.load(part))
    with tempfile.TemporaryDirectory() as joined:
        report([*map(str, runs), "--join", "true", "--output", joined])
        return _publish(Path(joined) / RESULTS[0], name, figures, folder, runs)


def _publish(
    run: Path, name: str, figures: Sequence[str], folder: Path, made_in: Sequence[Path]
) -> Path:
    """Write the files of the results of one file, with pictures from the runs they were made in."""
    source = Source.load(run)
    kind = source.kind.result
    content = {**source.content, "config": _portable(source), **_sentences(source)}
    counts = source.counts
    if issubclass(kind, Result) and counts is None:
        raise InputError(f"{run}: its counts of wrong answers are missing")
    pictures = [run.parent / file for file in figures]
    for picture in pictures:
        if not picture.is_file():
            raise InputError(f"figures: {picture} not found")
    with tempfile.TemporaryDirectory() as place:
        # Beside each other under the names of their place, which the page knows.
        file = Path(place, *PUBLISHED.parts[-2:], f"{name}.json")
        file.parent.mkdir(parents=True)
        write_json(file, content)
        if counts is not None:
            counts.save(file.with_suffix(".npz"))
        index = CellIndex.union(CellIndex.load(made.parent) for made in made_in)
        _write_page(kind.from_json(content), run, file, index)
        for picture in pictures:
            shutil.copy(picture, file.with_name(f"{name}_{picture.stem}{picture.suffix}"))
        folder.mkdir(parents=True, exist_ok=True)
        for made in sorted(file.parent.iterdir()):
            write_bytes(folder / made.name, made.read_bytes())
    return folder / file.name


def _portable(source: Source) -> dict[str, Any]:
    """The configuration without what is this machine's alone."""
    source.config  # noqa: B018  (read, so that one that cannot be run again is refused)
    for revision in [source.revision or UNKNOWN, *revisions_of(source.content)]:
        if revision == UNKNOWN or revision.endswith("dirty"):
            of = "code of unknown revision" if revision == UNKNOWN else f"revision {revision}"
            raise InputError(
                f"{source.file}: made by {of}, at least in part; run it in a new folder, from a "
                "checkout without changes"
            )
    config = dict(source.content["config"])
    config |= {key: None for key in OF_THE_MACHINE if key in config}
    portable: dict[str, Any] = _relative(config, "config")
    return portable


def _sentences(source: Source) -> dict[str, list[str]]:
    """What was noticed, without the folders that hold this machine's datasets."""
    found: dict[str, list[str]] = {}
    for name in {"noticed", "warnings"} & source.content.keys():
        found[name] = list(source.content[name])
        for root in data_root(source.content["config"].get("data_root")):
            found[name] = [text.replace(f"{root}{os.sep}", "") for text in found[name]]
        for text in found[name]:
            if re.search(r"(^|\s)/\w", text):
                raise InputError(
                    f"{source.file}: {name} names a folder of this machine ({text}); set "
                    "FEWSHOT_DATA to that of the datasets"
                )
    return found


def _relative(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _relative(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_relative(item, f"{key}.{i}") for i, item in enumerate(value)]
    if not isinstance(value, str) or not {"/", ".."} & {*Path(value).parts}:
        return value
    path = Path(os.path.abspath(value))  # noqa: PTH100  (resolve would follow links)
    if not path.is_relative_to(Path.cwd()):
        raise InputError(f"{key}: {value} is outside {Path.cwd()}, where nobody else has it")
    return str(path.relative_to(Path.cwd()))


def _write_page(result: Any, run: Path, file: Path, index: CellIndex | None) -> None:
    """Write the report beside the published file."""
    page = file.with_suffix(".html")
    if isinstance(result, StudyResult):
        here = replace(Content.load(run), result=result, index=index, file=file)
        write_comparisons([here], page)
    else:
        with tempfile.TemporaryDirectory() as name:
            write_bytes(page, _plain_page(result, run.parent, Path(name)).read_bytes())
    if page.stat().st_size > LARGEST:
        raise InputError(f"{page}: larger than {LARGEST:,} bytes; lower the study's pictures")


def _plain_page(result: "LakeResult | LatentsResult | NicaResult", run: Path, folder: Path) -> Path:
    """Write a page into a folder that holds its figures alone: it links to no other file."""
    if isinstance(result, LakeResult):
        figures = {"lake": lake_figure(result.rows, result.published)}
        write_pages(folder, REPORT_PAGE, {}, figures)
        sheets = sorted((run / "lake").glob("*.png"))
        (folder / "lake").mkdir()
        for sheet in sheets:
            shutil.copy(sheet, folder / "lake")
        write_lake_page(result, folder, [f"lake/{sheet.stem}" for sheet in sheets])
        return folder / "lake.html"
    if isinstance(result, LatentsResult):
        write_pages(folder, REPORT_PAGE, {}, latents_figures(result))
        write_latents_page(result, folder)
    else:
        write_pages(folder, REPORT_PAGE, {}, {"recovery": result.figure})
        write_nica_page(result, folder)
    return folder / "report.html"


def main() -> int:
    """Run it; the status is 2 if the study is refused."""
    parser = argparse.ArgumentParser(prog="python tools/publish.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--figures", nargs="*", default=[], help="such as errors.png")
    parser.add_argument("--join", nargs="*", default=[], type=Path, help="runs with other seeds")
    given = parser.parse_args()
    try:
        file = publish(given.run, given.name, given.figures, others=given.join)
    except Exception as error:
        if (line := complaint(error)) is None:
            raise
        print(f"publish: {line}", file=sys.stderr)
        return 2
    print(f"wrote {file} and what belongs to it; check: fewshot reproduce --check {given.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
