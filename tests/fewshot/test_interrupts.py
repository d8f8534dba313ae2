"""Ctrl-C and SIGTERM end a command in order, at whatever moment they come."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from fewshot.cli import main
from fewshot.interrupts import Interrupts

SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
except BaseException:
    raise ImportError("as numpy says it")
imported = True
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of other systems differ")


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C as in a terminal: a shell's background jobs, this one too, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait():
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.005)
    raise AssertionError("the signal was lost")


def test_a_signal_inside_an_import_is_raised_after_it(tmp_path, monkeypatch):
    (tmp_path / "module_that_swallows.py").write_text(SWALLOWS)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts("data") as interrupts, pytest.raises(KeyboardInterrupt):
        import module_that_swallows

        wait()
    assert module_that_swallows.imported
    assert interrupts.ending[0] == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_raised_at_once_in_a_command_that_an_import_runs(tmp_path, monkeypatch):
    (tmp_path / "module_that_runs.py").write_text(
        """
import os, signal, time
from fewshot.interrupts import Interrupts

with Interrupts("data") as interrupts:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        ended = True
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    import module_that_runs

    assert module_that_runs.ended


def test_a_signal_inside_a_destructor_is_raised_after_it():
    class Destroyed:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    before = sys.unraisablehook
    with Interrupts("data") as interrupts, pytest.raises(KeyboardInterrupt):
        Destroyed()
        wait()
    assert interrupts.ending[0] == 130
    assert sys.unraisablehook is before


def swallowed():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        wait()
    except KeyboardInterrupt:
        pass


def turned():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        wait()
    except KeyboardInterrupt as error:
        raise RuntimeError("Numpy is not available") from error


@pytest.mark.parametrize("library", [swallowed, turned])
def test_a_command_whose_libraries_hide_a_signal_ends_by_it(library, monkeypatch, capsys):
    monkeypatch.setattr("fewshot.commands.data.main", lambda _: library())
    assert main(["data"]) == 143
    said = "fewshot data: terminated; run the same command again to resume\n"
    assert capsys.readouterr().err == said


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts("data"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("number", "when", "status", "word"),
    [
        (signal.SIGINT, "torch is loaded", 130, "interrupted"),
        (signal.SIGTERM, "it trains", 143, "terminated"),
    ],
)
def test_a_process_ends_with_its_line(number, when, status, word, small_configs, write, tmp_path):
    config = small_configs["pretrain"]
    config["pretrain"] |= {"steps": 1_000_000, "log_every": 1000}
    output = tmp_path / "run"
    command = [sys.executable, "-m", "fewshot.cli", "pretrain", write(config)]
    process = subprocess.Popen(
        [*command, "--output", str(output)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert "loading torch" in process.stdout.readline()
    if when == "it trains":
        while not list(output.glob("cells/*/state-*.pt")):
            assert process.poll() is None
            time.sleep(0.02)
    else:
        time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    said = [line for line in errors.splitlines() if "validat" not in line and "step " not in line]
    assert said == [f"fewshot pretrain: {word}; run the same command again to resume"]
    assert not list(tmp_path.rglob("*.tmp"))
