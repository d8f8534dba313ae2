"""Inputs in a child process, which is watched, limited and audited."""

import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

from mutations import mutated
from readers import Reader

from guided.errors import InputError

SECONDS = 10  # of one input
MEMORY = 2 * 10**9  # bytes, above what the imports take
AT_MOST = 20_000  # inputs of a process
LONGEST_LINE = 2000
FAULT_FILES = "fault-"
STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.kill")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Batch:
    """The inputs of one reader, the same ones for the same seed.

    Args:
        name: of the reader.
        reader: itself.
        seed: of the changes.
        box: a folder in which the children have one of their own.
        corpus: folder with a folder of further inputs for a reader, if it has any.
    """

    def __init__(self, name: str, reader: Reader, seed: int, box: Path, corpus: Path) -> None:
        self.reader, self.seed = reader, seed
        self.number = zlib.crc32(name.encode())
        self.done = 0
        self.folder = box / name.replace(" ", "_")
        found = sorted((corpus / name.replace(" ", "_")).glob("*"))
        self.seeds = [*reader.seeds, *(file.read_bytes() for file in found)]

    def content(self, i: int) -> bytes:
        """Input i: the seeds as they are, then changed ones."""
        if i < len(self.seeds):
            return self.seeds[i]
        rng = random.Random(f"{self.seed} {self.number} {i}")
        return mutated(rng.choice(self.seeds), self.seeds, rng)

    def run(self, most: int, seconds: float) -> tuple[int, float, list[tuple[str, bytes]]]:
        """Read some inputs; how many, in which time, and what failed.

        Args:
            most: inputs.
            seconds: after which no other one is begun.
        """
        start = time.perf_counter()
        self.folder.mkdir(exist_ok=True)
        shared = mmap.mmap(-1, 24)  # inputs begun; when the last one was, by two clocks
        first = self.done
        sys.stdout.flush()
        child = os.fork()
        if not child:
            self._child(shared, first, min(most, AT_MOST), seconds)
        status = _watched(child, shared)
        begun, *_ = struct.unpack("qdd", shared[:])
        self.done = first + begun
        faults = [
            (file.name.removeprefix(FAULT_FILES).partition(" ")[2], file.read_bytes())
            for file in sorted(self.folder.parent.glob(f"{FAULT_FILES}*"))
        ]
        for file in self.folder.parent.glob(f"{FAULT_FILES}*"):
            file.unlink()
        if status:
            faults.append((status, self.content(self.done - 1)))
        return begun, time.perf_counter() - start, faults

    def _child(self, shared: mmap.mmap, first: int, most: int, seconds: float) -> None:
        try:
            _limit(self.folder)
            violations = _audited(self.folder)
            end = time.perf_counter() + seconds
            for i in range(most):
                if time.perf_counter() > end:
                    break
                shared[:] = struct.pack("qdd", i + 1, time.time(), time.process_time())
                content = self.content(first + i)
                fault = attempt(self.reader, content, self.folder)
                fault = violations.pop() if violations else fault
                violations.clear()
                if fault:
                    line = f"{FAULT_FILES}{i} {fault}".replace("/", "|")[:150]
                    (self.folder.parent / line).write_bytes(content)
                    violations.clear()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)


def _watched(child: int, shared: mmap.mmap) -> str:
    """Wait for a child; the reason if it does not end well."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if os.WIFSIGNALED(status):
                return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
            code = os.WEXITSTATUS(status)
            return f"ended with status {code}" if code else ""
        _, wall, used = struct.unpack("qdd", shared[:])
        # Of the processor's time: others may keep it busy.
        if wall and (_used(child) - used > SECONDS or time.time() - wall > 6 * SECONDS):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"hangs for more than {SECONDS} s"
        time.sleep(0.005)


def _used(process: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _limit(folder: Path) -> None:
    os.chdir(folder)
    os.environ.update(HOME=str(folder), TMPDIR=str(folder))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _audited(folder: Path) -> list[str]:
    """What is done outside of a folder, entered here as it happens."""
    violations: list[str] = []

    def outside(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return False
        return not os.path.realpath(os.fsdecode(path)).startswith(str(folder.parent))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            violations.append(f"starts a program ({event})")
        elif event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & {*"wax+"}) or (flags or 0) & WRITES
            if writes and outside(path):
                violations.append(f"writes outside: {path!r}")
        elif event in CHANGES and outside(arguments[0]):
            violations.append(f"{event} outside: {arguments[0]!r}")

    sys.addaudithook(hook)
    return violations


def attempt(reader: Reader, content: bytes, folder: Path, *, show: bool = False) -> str:
    """Give a reader a file; what is wrong with what it does, if anything.

    Args:
        reader: to be tried.
        content: of the file.
        folder: for the file.
        show: print what is raised.
    """
    path = folder / "data" / reader.file
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except InputError as refusal:
        if show:
            print(refusal)
        if "\n" in str(refusal) or len(str(refusal)) > LONGEST_LINE:
            return "a message of several lines, or a long one"
        if _lacks_memory(refusal):
            return "takes too much memory"
    except Exception as error:
        if show:
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)
        own = [
            frame
            for frame in place
            if "/guided/" in frame.filename or "/fewshot/" in frame.filename
        ]
        frame = (own or place)[-1]
        return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
    return ""


def _lacks_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
