"""Faults of the system are one line and status 2, wherever they come from."""

import errno
import io
import os
import subprocess
import sys
import threading

import pytest

from fewshot.cli import main
from fewshot.complaints import complaint, quiet_writers
from guided.errors import InputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files of other systems differ")


def raised_while(handled, error):
    try:
        try:
            raise handled
        except Exception:
            raise error  # noqa: B904 - as libraries do
    except Exception as caught:
        return caught


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("pretrain: wrong"), "pretrain: wrong"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), "a/b: Read-only file system"),
        (OSError(errno.EXDEV, "no", "a", None, "b"), "a → b: no"),
        (raised_while(FULL, RuntimeError("unexpected pos 64")), "No space left on device"),
        (raised_while(FileNotFoundError(2, "no"), KeyError("a bug")), None),
        (RuntimeError("a bug"), None),
        (RuntimeError("Could not determine home directory."), "no home folder is known"),
        (UnicodeEncodeError(sys.getfilesystemencoding(), "a\udce9", 1, 2, "no"), "LC_ALL=C.UTF-8"),
    ],
)
def test_the_line_of_an_error(error, line):
    said = complaint(error)
    assert said is None if line is None else line in said
    assert said is None or "\n" not in said


def place(kind, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"circle": path.name, "dangling": "nowhere/at/all"}[kind])


KINDS = ("pipe", "circle", "dangling", "folder")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_wherever_it_lies(kind, fails, write, small_configs, tmp_path):
    config = write(small_configs["evaluate"])
    place(kind, tmp_path / "strange")
    strange = str(tmp_path / "strange")
    fails("evaluate", strange)
    fails("evaluate", config, "--encoder", strange)
    fails("evaluate", config, "--weights.prototypical", strange)
    fails("report", strange)
    if kind != "folder":
        assert "strange" in fails("evaluate", config, "--output", strange, writes=True)
        assert "strange" in fails("evaluate", config, "--output", f"{strange}/x", writes=True)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.yaml", "finished.json", "results.json"])
def test_what_is_no_file_in_a_run_folder(kind, name, write, small_configs, tmp_path, capsys):
    """It is replaced, or refused in a line: never waited for."""
    place(kind, tmp_path / "run" / name)
    status = main(["evaluate", write(small_configs["evaluate"]), "--output", str(tmp_path / "run")])
    printed = capsys.readouterr()
    assert status == 0 or (status == 2 and printed.err.count("fewshot evaluate: ") == 1)
    assert (status == 0) == (tmp_path / "run" / "finished.json").is_file()


@pytest.mark.usefixtures("cache")
def test_a_locked_run_folder_whose_lock_is_a_pipe(fails, write, small_configs, tmp_path):
    place("pipe", tmp_path / "run" / ".lock")
    config = write(small_configs["compare"])
    line = fails("compare", config, "--output", str(tmp_path / "run"), writes=True)
    assert ".lock" in line


def test_a_cache_without_a_home(fails, write, small_configs, monkeypatch):
    for name in ("HOME", "FEWSHOT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["no such user"])
    config = write(small_configs["evaluate"])
    assert "set FEWSHOT_CACHE" in fails("evaluate", config)
    assert "set HOME" in fails("evaluate", config, "--data-root", "~/data")


def test_output_in_ascii(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["evaluate", "--help"]) == 0
    print("± † …", "\udce9", "好", flush=True)
    shown = stream.buffer.getvalue().decode("ascii")
    assert shown.endswith("+/- + ... ? ?\n")


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


def test_a_locale_without_our_characters_and_a_full_standard_output(tmp_path):
    command = [sys.executable, "-m", "fewshot.cli", "data", "--data-root", str(tmp_path)]
    more = os.environ | ASCII | {"PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=more, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")
    if os.path.exists("/dev/full"):  # noqa: PTH110
        with open("/dev/full", "w") as full:
            command = [*command[:3], "--version"]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
        said = done.stderr.decode()
        assert done.returncode == 2
        assert said.startswith("fewshot: ") or said.startswith("fewshot --version: ")
        assert said.endswith("(No space left on device)\n")
        assert said.count("\n") == 1


class _AsyncWriterThread(threading.Thread):
    """Named as TensorBoard's."""

    def run(self):
        raise self._target


@pytest.mark.parametrize("error", [FULL, RuntimeError("a bug")])
def test_a_writers_thread_leaves_the_disks_fault_to_its_writer(error, monkeypatch):
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: heard.append(ended.exc_value))
    with quiet_writers():
        thread = _AsyncWriterThread(target=error)
        thread.start()
        thread.join()
    assert heard == ([] if error is FULL else [error])
