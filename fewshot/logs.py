"""Folders of TensorBoard's logs: named for people; each belongs to the cell of its training.

TensorBoard names a run by its folder. Folders below ``tensorboard`` in a run folder are therefore
named by arm, learner and seed, and a note in each holds the digest of its cell. The log of a cell
that is no longer planned waits in the cell's folder, under names that TensorBoard does not read.
"""

from collections.abc import Mapping
from pathlib import Path

from guided.files import write_bytes

FOLDER, NOTE, STORED = "tensorboard", "cell.txt", "log"

REPORT = ".report"
"""Ends the names of event files that a report writes, anew each time."""


def log_folder(output: Path, name: str, digest: str) -> Path:
    """The folder of a training's logs: ``tensorboard/NAME``, or one with a suffix if that is taken.

    Args:
        output: the run folder.
        name: of the run in TensorBoard, e.g. ``guided/seed0``.
        digest: of the training's cell.
    """
    folder = output / FOLDER / name
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
    notes = sorted((output / FOLDER).rglob(NOTE))
    for folder in (note.parent for note in notes):
        digest = _owner(folder) or ""
        if digest not in planned or folder != output / FOLDER / planned[digest]:
            _store(output, folder, digest)
    for folder in sorted((output / FOLDER).glob("*-" + "[0-9a-f]" * 16)):  # up to version 0.1
        _store(output, folder, folder.name.rpartition("-")[2])
    for digest, name in planned.items():
        if any((cell / STORED).is_dir() for cell in _cells(output, digest)):
            log_folder(output, name, digest)


def remove_reports(output: Path) -> None:
    """Remove the event files that an earlier report wrote beside those of trainings."""
    for file in sorted((output / FOLDER).rglob(f"events.out.tfevents.*{REPORT}")):
        file.unlink()
        _remove_empty(file.parent, output / FOLDER)


def _owner(folder: Path) -> str | None:
    note = folder / NOTE
    return note.read_text().strip() if note.exists() else None


def _cells(output: Path, digest: str) -> list[Path]:
    return sorted((output / "cells").glob(f"*-{digest}"))


def _store(output: Path, folder: Path, digest: str) -> None:
    """Move the event files of a training into the folder of its cell."""
    prefix = "-".join(folder.relative_to(output / FOLDER).parts).removesuffix(f"-{digest}")
    cell = next(iter(_cells(output, digest)), output / "cells" / f"{prefix}-{digest}")
    for file in sorted(folder.glob("events.out.tfevents.*")):
        if not file.name.endswith(REPORT):
            (cell / STORED).mkdir(parents=True, exist_ok=True)
            file.rename(cell / STORED / file.name.replace(".tfevents.", ".stored.", 1))
    (folder / NOTE).unlink(missing_ok=True)
    _remove_empty(folder, output / FOLDER)


def _restore(output: Path, folder: Path, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for cell in _cells(output, digest):
        for file in sorted((cell / STORED).glob("events.out.stored.*")):
            file.rename(folder / file.name.replace(".stored.", ".tfevents.", 1))
        _remove_empty(cell / STORED, cell)


def _remove_empty(folder: Path, below: Path) -> None:
    """Remove a folder if nothing is in it, and those above it likewise."""
    while folder != below and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
