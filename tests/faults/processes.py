"""Commands as processes: forked from one that has imported everything, or started anew."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.points import Points

LIMIT = 300.0
"""Seconds after which a command hangs."""

MODULES = (
    *("pretrain", "train", "evaluate", "compare", "probe", "nica", "select"),
    *("evaluate_files", "replay", "report"),
)


def environment(work: Path) -> dict[str, str]:
    """The variables of a command in a working folder."""
    return {
        "FEWSHOT_CACHE": str(work / "cache"),
        "FEWSHOT_DATA": str(work / "data"),
        "FEWSHOT_WORKERS": "1",
        "FEWSHOT_PLAIN": "quiet",
        "OMP_NUM_THREADS": "1",
    }


def warm(modules: Iterable[str] = ()) -> None:
    """Import what the commands need, so that a fork of this process has it.

    Args:
        modules: those that an earlier run imported at last.
    """
    import torch

    torch.set_num_threads(1)
    for name in (*(f"fewshot.commands.{name}" for name in MODULES), *modules):
        # Some are no files, or of another name than their place.
        with suppress(Exception):
            importlib.import_module(name)


@dataclass(frozen=True)
class Ended:
    """An ended process: its status (negative: the signal), what it said, seconds."""

    status: int
    said: str
    errors: str
    seconds: float

    @property
    def problem(self) -> str:
        """Something that no fault excuses."""
        if "Traceback" in self.errors:
            return f"a traceback: {self.errors[-2000:]}"
        if self.status in (1, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT):
            return f"status {self.status}: {self.errors[-200:]}"
        if self.status == -signal.SIGALRM:
            return "it hangs"
        return ""


class Process:
    """A command in a working folder, running.

    Args:
        arguments: of ``fewshot``.
        work: the working folder.
        points: the points at which a fault happens.
        largest: of a file, in bytes; unlimited if not given.
        anew: start an interpreter instead of a fork.
        more: further environment variables; an empty one is unset.
        user: number of the user that a fork becomes.
        modules: a file for the names of the modules that it has in the end.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        work: Path,
        *,
        points: Points | None = None,
        largest: int | None = None,
        anew: bool = False,
        more: dict[str, str] | None = None,
        modules: Path | None = None,
        user: int | None = None,
    ) -> None:
        self.start = time.monotonic()
        self.logs = [work.parent / f"{time.monotonic_ns()}.{name}" for name in ("out", "err")]
        variables = environment(work) | (more or {})
        child = partial(_child, arguments, work, variables, self.logs)
        self.pid = (
            _started(arguments, work, variables, self.logs)
            if anew
            else _forked(lambda: child(points, largest, modules, user))
        )
        if points:
            os.close(points.note)

    def send(self, number: int) -> None:
        """Send a signal; it may have ended meanwhile."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end, and remove what it said from the disk."""
        hangs = False
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.start > LIMIT and not hangs:
                hangs = True
                self.send(signal.SIGKILL)
            time.sleep(0.003)
        code = -signal.SIGALRM if hangs else os.waitstatus_to_exitcode(status)
        for log in self.logs:
            log.touch()  # killed before it had opened them
        said, errors = (log.read_text(errors="replace") for log in self.logs)
        for log in self.logs:
            log.unlink()
        return Ended(code, said, errors, time.monotonic() - self.start)


def run(arguments: Sequence[str], work: Path, **how: Any) -> Ended:
    """Run a command to its end."""
    return Process(arguments, work, **how).wait()


def _started(
    arguments: Sequence[str], work: Path, variables: dict[str, str], logs: Sequence[Path]
) -> int:
    root = str(Path(__file__).resolve().parents[2])
    with logs[0].open("w") as out, logs[1].open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "fewshot.cli", *arguments],
            cwd=work,
            env=os.environ | variables | {"PYTHONPATH": root},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        ).pid


def _forked(child: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = child()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _child(
    arguments: Sequence[str],
    work: Path,
    variables: dict[str, str],
    logs: Sequence[Path],
    points: Points | None,
    largest: int | None,
    modules: Path | None,
    user: int | None,
) -> int:
    for number, log in zip((1, 2), logs, strict=True):
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(variables)
    for name in [name for name, value in variables.items() if not value]:
        del os.environ[name]
    os.chdir(work)
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    from fewshot.cli import main

    if largest is not None:
        # What it says is on a disk, too.
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    if points:
        points.install()
    status = main(arguments)
    if points:
        points.end()
    if modules:
        modules.write_text("\n".join(sys.modules))
    return status
