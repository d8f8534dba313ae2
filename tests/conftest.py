"""Programs in other processes: with pipes, and on a terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

SET_BY_US = ("COLUMNS", "LINES", "NO_COLOR", "FEWSHOT_PLAIN")


def environment(**more):
    known = {name: value for name, value in os.environ.items() if name not in SET_BY_US}
    return {**known, "OMP_NUM_THREADS": "1", "TERM": "xterm", **more}


@pytest.fixture
def learn2learn():
    """The package of this name; tests that need it are skipped without it."""
    return pytest.importorskip("learn2learn", reason="the extra [learn2learn] is not installed")


@pytest.fixture(scope="session")
def python_run():
    """Run a program in a fresh interpreter, with pipes; returns the finished process."""

    def run(program, *arguments, **more):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(**more)
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def terminal():
    """Run Python on a pseudo-terminal of so many columns; returns all that it shows."""

    def run(arguments, columns, seconds=120, **more):
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command, shown = [sys.executable, *arguments], b""
        with subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, env=environment(**more)
        ) as process:
            os.close(its)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if not select.select([ours], [], [], 0.2)[0]:
                    continue
                try:
                    part = os.read(ours, 65536)
                except OSError:  # Linux tells the end by an error
                    break
                if not part:
                    break
                shown += part
            else:
                process.kill()
            os.close(ours)
        assert process.returncode == 0, shown.decode()
        return shown.decode()

    return run
