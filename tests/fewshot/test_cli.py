"""The command line: quick to answer, one line for every mistake."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

import fewshot.commands
from fewshot.cli import COMMANDS, main

HEAVY = ["torch", "numpy", "jsonargparse", "yaml", "matplotlib"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, arguments):
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for name, purpose in COMMANDS.items():
        assert f"  {name} " in printed.out
        assert purpose in printed.out


def test_commands_are_the_modules():
    folder = Path(fewshot.commands.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "common"}
    assert set(COMMANDS) == modules


def test_help_imports_nothing_heavy(python):
    printed = python(
        "import sys, json\n"
        "from fewshot.cli import main\n"
        "main(['--help'])\n"
        "print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))",
        *HEAVY,
    )
    assert printed.startswith("usage: fewshot COMMAND")
    assert json.loads(printed.splitlines()[-1]) == []


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("guided-fewshot")


def test_unknown_command(capsys):
    assert main(["evalute", "x.yaml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"fewshot: 'evalute' is not a command; expected one of {', '.join(COMMANDS)}\n"
    )


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("data", ["--data-root", "--download"]),
        ("pretrain", ["--dataset", "--pretrain.steps", "--pretrain.guidance", "--output"]),
        ("train", ["--learner", "--train.steps", "--encoder", "--backbone"]),
        ("evaluate", ["--encoder", "--latents", "--learners", "--settings", "--episodes"]),
        ("compare", ["--arms", "--learners", "--seeds", "--baseline", "--select_by"]),
        ("probe", ["--arms", "--latent_dims", "--seeds", "--features", "--samples"]),
        ("lake", ["--arms", "--learners", "--archive", "--draw", "--runs", "--run_seed"]),
    ],
)
def test_each_command_lists_its_keys(capsys, command, keys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for key in keys:
        assert key in printed


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fewshot.commands.data.main", interrupted)
    assert main(["data"]) == 130
    assert capsys.readouterr().err == "fewshot data: interrupted; the same command continues\n"


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch):
    def broken(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("fewshot.commands.data.main", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["data"])
