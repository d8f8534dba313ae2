"""What a person sees: on terminals of two widths, through a pipe, and with each option."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from fewshot.cli import main
from fewshot.printing import option_of
from fewshot.study.result import StudyResult

PROGRAM = """
import sys
class Told:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("<torch>", flush=True)
sys.meta_path.insert(0, Told())
from fewshot.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def command(finished, tmp_path_factory):
    """A command whose study has finished in a folder of its own."""
    folder = tmp_path_factory.mktemp("again") / "run"
    shutil.copytree(finished.folder, folder)
    return ["compare", str(finished.file), "--output", str(folder)]


@pytest.mark.parametrize(("columns", "no_colour"), [(80, ""), (120, "1")])
def test_a_terminal(terminal, command, shared_cache, finished, columns, no_colour):
    shown = terminal(
        ["-c", PROGRAM, *command], columns, FEWSHOT_CACHE=str(shared_cache), NO_COLOR=no_colour
    )
    assert ("\033[1m" in shown) == (not no_colour)
    plain = re.sub(r"\033\[\d*m", "", shown)
    assert "\033" not in plain
    lines = plain.splitlines()
    assert lines[0].startswith("fewshot compare ") and lines[0].endswith(": loading torch …")
    assert lines[1] == "<torch>", "the first line stands before torch is looked for"
    assert lines[2] == "tiny · Glyphs 10/5/5 classes · 4 arms × 2 seeds · 1 worker"
    assert max(len(line) for line in lines if command[-1] not in line) <= columns
    assert "|" not in plain
    result = StudyResult.load(finished.folder)
    assert "\n".join(result.summary(columns).splitlines()) in "\n".join(lines)
    unwrapped = " ".join(plain.split())
    assert all(verdict in unwrapped for verdict in result.verdicts)
    assert f"tensorboard --logdir {command[-1]} " in unwrapped


@pytest.mark.usefixtures("cache")
def test_without_a_terminal(command, capsys, finished):
    assert main(command) == 0
    printed = capsys.readouterr()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", printed.out + printed.err + finished.printed)
    assert printed.out.splitlines()[-1] == f"finished before; results in {command[-1]}"


def test_a_value_that_ends_like_an_option_is_none():
    given = ["--json", "--study", "v1json", "--output", "./json"]
    assert option_of(given) == ("json", given[1:])


@pytest.mark.usefixtures("cache")
def test_options(command, capsys, finished):
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (finished.folder / "results.json").read_text()
    assert "loading torch" in printed.err and "Errors in %" in printed.err
    assert main([*command, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"finished before; results in {command[-1]}\n"
    assert printed.err == ""
    for words, wrong in (
        ([*command, "--json", "--quiet"], "--quiet, --json: give one of them"),
        (["select", "--json"], "--json: select writes no results.json"),
        ([*command, "--quiet", "--seed", "1"], "seed: no such key; did you mean seeds?"),
    ):
        assert main(words) == 2
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
        assert wrong in printed.err


@pytest.fixture
def unread():
    """A text file that is a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        yield file


def ended(arguments, stdout):
    """Status and errors of the command, run as a program."""
    program = [sys.executable, "-m", "fewshot.cli", *arguments]
    done = subprocess.run(program, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def test_no_success_when_nobody_reads_the_output(unread, command, tmp_path):
    """As with ``fewshot compare … | true``."""
    output = tmp_path / "run"
    status, said = ended([*command[:2], "--output", str(output)], unread)
    assert status == 141
    assert not (output / "results.json").exists()
    again = "run the same command again to go on"
    assert said == f"fewshot compare: nobody reads its output; {again}\n"
    assert ended(["--help"], unread) == (141, "")


@pytest.mark.usefixtures("cache")
def test_work_goes_on_when_nobody_reads_of_its_progress(unread, run_small, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", unread)
    last = run_small("pretrain").splitlines()[-1]
    assert last.startswith(f"results in {tmp_path / 'run'};")
    assert (tmp_path / "run" / "finished.json").exists()


def test_a_mistake_keeps_its_status_though_its_line_is_lost(unread, monkeypatch):
    monkeypatch.setattr(sys, "stderr", unread)
    assert main(["compare", "missing.yaml"]) == 2


def test_streams_that_are_closed_from_the_start():
    """No file that the program opens may come to be its standard output."""
    version, wrong = (f'"{sys.executable}" -m fewshot.cli {a}' for a in ("--version", "compere"))
    script = f"{version} >&- 2>&- || exit 3; {wrong} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 2
