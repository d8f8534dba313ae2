"""``fewshot inspect``: TensorBoard on run folders, its runs named STUDY/ARM/seedN."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fewshot.config import parse
from fewshot.logs import EARLIER, has_logs, logged
from guided.errors import InputError
from guided.ranges import Checked, Range


@dataclass(frozen=True, kw_only=True)
class InspectCommand(Checked):
    """Show the curves, pictures and tables of runs in TensorBoard, until Ctrl-C.

    Args:
        runs: run folders, or folders of these, as runs is.
        port: of the page; 6006, or the next free one, if not given.
        imports: modules with classes of your own; none are needed.
    """

    runs: list[Path] = field(default_factory=list)
    port: Annotated[int, Range(1, 65535)] | None = None
    imports: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    command = parse(InspectCommand, arguments, "fewshot inspect", words="runs")
    with linked(logs_of(command.runs)) as folder:
        address = serve(folder, command.port)
        print(f"TensorBoard: {address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


def logs_of(runs: Sequence[Path]) -> dict[str, Path]:
    """Name -> folder of logs, of each run folder.

    Args:
        runs: run folders, or folders of these; else any folders of TensorBoard's events.

    Raises:
        InputError: names a folder without logs.
    """
    if not runs:
        raise InputError("runs: expected at least one run folder, e.g. runs/quickstart")
    found: dict[str, Path] = {}
    for run in runs:
        inside = sorted(run.iterdir()) if run.is_dir() else []
        folders = [_logs(path) for path in (run, *inside) if (path / "config.yaml").exists()]
        folders = [path for path in folders or [run] if has_logs(path)]
        if not folders:
            missing = "has no logs of TensorBoard" if run.is_dir() else "no such folder"
            raise InputError(f"runs: {run}: {missing}")
        for folder in folders:
            if folder.resolve() not in found.values():
                name = (folder.parent if folder.name == EARLIER else folder).resolve().name
                found[_free(name, found)] = folder.resolve()
    return found


def _logs(run: Path) -> Path:
    """The folder that names are relative to: the run folder; another one up to version 0.1."""
    earlier = run / EARLIER
    return earlier if has_logs(earlier) and not logged(run) else run


@contextmanager
def linked(logs: Mapping[str, Path]) -> Iterator[Path]:
    """A temporary folder with a link to each folder of logs: its name is the runs' beginning."""
    with TemporaryDirectory(prefix="fewshot-inspect-") as made:
        for name, folder in logs.items():
            (Path(made) / name).symlink_to(folder, target_is_directory=True)
        yield Path(made)


def serve(folder: Path, port: int | None) -> str:
    """Start TensorBoard in a thread of this process, and return its address.

    Raises:
        InputError: the port is taken.
    """
    from tensorboard.program import TensorBoard, TensorBoardServerException

    server = TensorBoard()
    chosen = [] if port is None else ["--port", str(port)]
    server.configure(["tensorboard", "--logdir", str(folder), *chosen])
    try:
        return str(server.launch())
    except TensorBoardServerException as error:
        raise InputError(f"port: {error}") from error


def _free(name: str, taken: Mapping[str, Path]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
