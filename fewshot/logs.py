"""Folders of TensorBoard's logs: named for people; each belongs to the cell of its training.

TensorBoard names a run by the path of its folder. Logs are therefore folders of the run folder,
named by arm, learner and seed: ``tensorboard --logdir runs`` shows ``STUDY/ARM/seedN``. A note in
each holds the digest of its cell. The log of a cell that is no longer planned waits in the cell's
folder, under names that TensorBoard does not read.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from guided.storage.files import write_bytes

NOTE, STORED = "cell.txt", "log"

REPORT = ".report"
"""Ends the names of event files that a report writes, anew each time."""

REPORT_PAGE, LAKE_PAGE = PAGES = ("_report", "_lake")
"""Runs in TensorBoard that hold the tables and figures of a report."""

EARLIER = "tensorboard"
"""The folder that all logs of a run were in up to version 0.1."""

OTHERS = ("cells", "superseded", "episodes", "errors", "lake", "select", "sheets", EARLIER)
"""Folders of a run folder that hold no logs; those of an arm of such a name end in ``_``."""


def events_folder(output: Path, name: str) -> Path:
    """The folder of a run in TensorBoard.

    Args:
        output: the run folder.
        name: of the run within the study, e.g. ``guided/seed0``.
    """
    first, slash, rest = name.partition("/")
    return output / (f"{first}{'_' * (first in OTHERS)}{slash}{rest}")


def log_folder(output: Path, name: str, digest: str) -> Path:
    """The folder of a training's logs; with a suffix if another training's are there.

    Args:
        output: the run folder.
        name: of the run in TensorBoard, e.g. ``guided/seed0``.
        digest: of the training's cell.
    """
    folder = events_folder(output, name)
    if _owner(folder) not in (None, digest):
        folder = folder.with_name(f"{folder.name}-{digest[:4]}")
    if _owner(folder) is None:
        _restore(output, folder, digest)
        write_bytes(folder / NOTE, digest.encode())
    return folder


def show_logs(output: Path, planned: Mapping[str, str]) -> None:
    """Show the logs of planned cells under their names, and no others.

    Args:
        output: the run folder.
        planned: digest of a cell -> name of its log.
    """
    for folder in [note.parent for note in _files(output, NOTE)]:
        digest = _owner(folder) or ""
        if digest not in planned or folder != events_folder(output, planned[digest]):
            _store(output, folder, digest)
    for folder in sorted((output / EARLIER).glob("*-" + "[0-9a-f]" * 16)):
        _store(output, folder, folder.name.rpartition("-")[2])
    for digest, name in planned.items():
        if any((cell / STORED).is_dir() for cell in _cells(output, digest)):
            log_folder(output, name, digest)


def remove_reports(output: Path) -> None:
    """Remove what an earlier report wrote beside the logs of trainings."""
    for pattern in (f"events.out.tfevents.*{REPORT}", "projector_*"):
        for file in _files(output, pattern):
            _remove(file, output)


def remove_page(output: Path, page: str) -> None:
    """Remove the events of an earlier report's tables and figures.

    Args:
        output: the run folder.
        page: one of :data:`PAGES`.
    """
    for folder in (output / page, output / EARLIER / page):
        for file in sorted(folder.glob("events.out.tfevents.*")):
            _remove(file, output)


def has_logs(folder: Path) -> bool:
    """True if TensorBoard finds events in a folder, or below."""
    return any(folder.rglob("*tfevents*"))


def logged(output: Path) -> list[Path]:
    """The folders of a run folder that TensorBoard finds events in; one for each arm."""
    return [folder for folder in _folders(output) if folder.name != EARLIER and has_logs(folder)]


def _folders(output: Path) -> Iterator[Path]:
    """The folders that may hold logs, also those of an earlier version."""
    for folder in sorted(output.iterdir() if output.is_dir() else ()):
        if folder.is_dir() and (folder.name not in OTHERS or folder.name == EARLIER):
            yield folder


def _files(output: Path, pattern: str) -> list[Path]:
    return [file for folder in _folders(output) for file in sorted(folder.rglob(pattern))]


def _owner(folder: Path) -> str | None:
    note = folder / NOTE
    return note.read_text().strip() if note.exists() else None


def _cells(output: Path, digest: str) -> list[Path]:
    return sorted((output / "cells").glob(f"*-{digest}"))


def _store(output: Path, folder: Path, digest: str) -> None:
    """Move the event files of a training into the folder of its cell."""
    within = [part for part in folder.relative_to(output).parts if part != EARLIER]
    prefix = "-".join(within).removesuffix(f"-{digest}")
    cell = next(iter(_cells(output, digest)), output / "cells" / f"{prefix}-{digest}")
    for file in sorted(folder.glob("events.out.tfevents.*")):
        if not file.name.endswith(REPORT):
            (cell / STORED).mkdir(parents=True, exist_ok=True)
            file.rename(cell / STORED / file.name.replace(".tfevents.", ".stored.", 1))
    (folder / NOTE).unlink(missing_ok=True)
    _remove_empty(folder, output)


def _restore(output: Path, folder: Path, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for cell in _cells(output, digest):
        for file in sorted((cell / STORED).glob("events.out.stored.*")):
            file.rename(folder / file.name.replace(".stored.", ".tfevents.", 1))
        _remove_empty(cell / STORED, cell)


def _remove(file: Path, output: Path) -> None:
    file.unlink()
    _remove_empty(file.parent, output)


def _remove_empty(folder: Path, below: Path) -> None:
    """Remove a folder if nothing is in it, and those above it likewise."""
    while folder != below and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
