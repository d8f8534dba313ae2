"""Kinds of faults: what is done to a command, and what must hold afterwards."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.points import ERRORS, Points
from tests.faults.processes import Ended, Process, run
from tests.faults.subjects import Subject, numbers

DAMAGES = ("deleted", "emptied", "truncated", "zeroed", "flipped")


@dataclass(frozen=True)
class Undisturbed:
    """A subject, its results without faults, and folders to start from.

    Attributes:
        subject: the command.
        start: the working folder before it.
        finished: the working folder after it.
        numbers: its results.
        points: at which it changes the disk.
        seconds: that it takes.
        size: bytes that it writes.
    """

    subject: Subject
    start: Path
    finished: Path
    numbers: dict[str, str]
    points: int
    seconds: float
    size: int


class Trial:
    """One fault to one command, in a working folder of its own.

    Args:
        base: what is known of the command without faults.
        work: the working folder, made anew.
        dice: draws all that is left open.
    """

    def __init__(self, base: Undisturbed, work: Path, dice: random.Random) -> None:
        self.base, self.work, self.dice = base, work, dice
        self.detail, self.problems, self.reached = "", list[str](), True

    def start(self, folder: Path | None = None) -> None:
        """Make the working folder a copy."""
        shutil.copytree(folder or self.base.start, self.work, dirs_exist_ok=True)

    def process(self, **how: object) -> Process:
        """The command, running in the working folder."""
        return Process(self.base.subject.arguments, self.work, **how)  # type: ignore[arg-type]

    def ended(self, process: Process, *statuses: int) -> Ended:
        """Wait for it; any other end than these is a problem."""
        ended = process.wait()
        name = self.base.subject.name
        if ended.problem:
            self.problems.append(ended.problem)
        elif ended.status not in statuses:
            self.problems.append(f"status {ended.status}: {ended.errors[-300:]}")
        elif ended.status and ended.status > 0 and f"fewshot {name}: " not in ended.errors:
            self.problems.append(f"status {ended.status} without a line: {ended.errors[-300:]}")
        return ended

    def again(self) -> None:
        """The same command must end with the same numbers, and leave no temporary file."""
        ended = run(self.base.subject.arguments, self.work)
        if ended.status or ended.problem:
            line = ended.problem or ended.errors[-300:]
            self.problems.append(f"run again: status {ended.status}: {line}")
            return
        self.compare()

    def compare(self) -> None:
        """Compare the results with those without faults, and look for temporary files."""
        try:
            found = numbers(self.work / "run")
        except Exception as error:
            self.problems.append(f"results cannot be read: {error}")
            return
        if found != self.base.numbers:
            names = sorted(found.keys() | self.base.numbers.keys())
            other = [name for name in names if found.get(name) != self.base.numbers.get(name)]
            self.problems.append(f"other numbers: {', '.join(other)}")
        left = [str(path.relative_to(self.work)) for path in self.work.rglob("*.tmp")]
        if left:
            self.problems.append(f"temporary files left: {', '.join(left)}")

    def points(self, at: int, fault: str) -> Points:
        """The points of the command, with a fault at one; what it was is noted."""
        return Points(at, fault, self.note)

    @property
    def note(self) -> Path:
        """Where the point is noted."""
        return self.work.parent / "point"

    def noted(self) -> None:
        """Read at which point the fault happened."""
        self.detail = f"{self.detail} {self.note.read_text()}".replace(str(self.work), "")
        self.reached = bool(self.note.read_text())


def killed_at(trial: Trial) -> None:
    """Killed before or after an open for writing, fsync, rename, unlink or mkdir."""
    _, fault = _killed(trial)
    trial.detail = f"{fault} {trial.detail.strip()}"
    trial.again()


def _killed(trial: Trial) -> tuple[int, str]:
    at, fault = trial.dice.randrange(trial.base.points), trial.dice.choice(("before", "after"))
    trial.start()
    trial.ended(trial.process(points=trial.points(at, fault)), -signal.SIGKILL, 0)
    trial.noted()
    return at, fault


def killed(trial: Trial) -> None:
    """Killed at a random moment."""
    trial.start()
    _signalled(trial, signal.SIGKILL, -signal.SIGKILL)


def signalled(trial: Trial) -> None:
    """Ended by SIGINT or SIGTERM at a random moment."""
    trial.start()
    number, status = trial.dice.choice(((signal.SIGINT, 130), (signal.SIGTERM, 143)))
    _signalled(trial, number, status)


def _signalled(trial: Trial, number: int, status: int) -> None:
    wait = trial.dice.uniform(0, trial.base.seconds)
    process = trial.process()
    time.sleep(wait)
    process.send(number)
    trial.detail = f"{signal.Signals(number).name} after {wait:.2f} s"
    # Before it has begun to listen, a process ends as by any signal.
    ended = trial.ended(process, status, 0, -number)
    trial.reached = ended.status != 0
    trial.again()


def refused(trial: Trial) -> None:
    """An operation fails: the disk is full or read-only, the quota is used up, …"""
    at, error = trial.dice.randrange(trial.base.points), trial.dice.choice(ERRORS)
    trial.start()
    trial.ended(trial.process(points=trial.points(at, error)), 2, 0)
    trial.noted()
    trial.detail = f"{error} {trial.detail.strip()}"
    trial.again()


def too_large(trial: Trial) -> None:
    """No file may be larger than a limit."""
    sizes = [p.stat().st_size for p in trial.base.finished.rglob("*") if p.is_file()]
    largest = trial.dice.choice([size for size in sizes if size > 2000]) - 1
    trial.start()
    ended = trial.ended(trial.process(largest=largest), 2, 0)
    trial.detail, trial.reached = f"files of {largest} bytes", ended.status == 2
    trial.again()


def disk_full(trial: Trial) -> None:
    """A small disk fills up; then there is room."""
    free = trial.dice.randrange(trial.base.size)
    trial.work.mkdir()
    with_disk = ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(trial.work)]
    subprocess.run(with_disk, check=True, capture_output=True)
    try:
        trial.start()
        disk = os.statvfs(trial.work)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        _resized(trial.work, used + free)
        ended = trial.ended(trial.process(), 2, 0)
        trial.detail, trial.reached = f"{free} bytes free", ended.status == 2
        _resized(trial.work, 2**29)
        trial.again()
    finally:
        subprocess.run(["umount", str(trial.work)], check=True, capture_output=True)


def _resized(disk: Path, size: int) -> None:
    command = ["mount", "-o", f"remount,size={size}", str(disk)]
    subprocess.run(command, check=True, capture_output=True)


def finished_damaged(trial: Trial) -> None:
    """A file of a finished run, or of the cache, is damaged."""
    trial.start(trial.base.finished)
    _damage(trial)
    trial.again()


def unfinished_damaged(trial: Trial) -> None:
    """A file of a killed run, or of the cache, is damaged."""
    _killed(trial)
    point = trial.detail.strip()
    _damage(trial)
    trial.detail = f"{trial.detail}; killed at {point}"
    trial.again()


def _damage(trial: Trial) -> None:
    files = sorted(path for path in _files(trial.work) if path.stat().st_size)
    if not files:
        trial.reached = False
        return
    # Every kind of file as often as any other.
    kinds = sorted({path.suffix for path in files})
    kind = trial.dice.choice(kinds)
    path = trial.dice.choice([path for path in files if path.suffix == kind])
    how = trial.dice.choice(DAMAGES)
    trial.detail = f"{path.relative_to(trial.work)} {how}"
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    at = trial.dice.randrange(len(content))
    if how == "emptied":
        content.clear()
    elif how == "truncated":
        del content[at:]
    elif how == "zeroed":
        content[at : at + 512] = bytes(len(content[at : at + 512]))
    else:
        content[at] ^= 1 << trial.dice.randrange(8)
    path.write_bytes(content)


def _files(work: Path) -> Iterator[Path]:
    for folder in ("run", "cache"):
        yield from (path for path in (work / folder).rglob("*") if path.is_file())


def twice(trial: Trial) -> None:
    """Two copies work on one output."""
    trial.start()
    first = trial.process()
    wait = trial.dice.uniform(0, trial.base.seconds)
    time.sleep(wait)
    second = trial.process()
    trial.detail = f"the second after {wait:.2f} s"
    for process in (first, second):
        trial.ended(process, 0)
    trial.compare()


def anew(trial: Trial) -> None:
    """A new interpreter, killed or ended at a random moment, workers beside it or not."""
    trial.start()
    number, status = trial.dice.choice(
        ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143))
    )
    workers = trial.dice.choice(("1", "2"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime  # of the imports, nearly
    wait = trial.dice.uniform(0, trial.base.seconds + min(used, 10.0))
    arguments = [word for word in trial.base.subject.arguments if word not in SERIAL]
    process = Process(arguments, trial.work, anew=True, more={"FEWSHOT_WORKERS": workers})
    time.sleep(wait)
    process.send(number)
    trial.detail = f"{signal.Signals(number).name} after {wait:.2f} s, {workers} workers"
    ended = trial.ended(process, status, 0, -number)
    trial.reached = ended.status != 0
    trial.again()


SERIAL = ("--executor", "serial")

KINDS: dict[str, tuple[Callable[[Trial], None], int]] = {
    "killed before or after an operation": (killed_at, 30),
    "killed at a random moment": (killed, 8),
    "SIGINT or SIGTERM": (signalled, 8),
    "an operation fails": (refused, 20),
    "a file too large": (too_large, 4),
    "the disk is full": (disk_full, 8),
    "a file of a finished run damaged": (finished_damaged, 12),
    "a file of an unfinished run damaged": (unfinished_damaged, 8),
    "two copies on one output": (twice, 4),
    "a new interpreter killed or ended": (anew, 2),
}
"""Kind -> what it does, and how many of a hundred faults are of it."""
