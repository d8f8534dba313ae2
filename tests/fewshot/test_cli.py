"""The command line: quick to answer, help that fits a screen, one line for every mistake."""

import contextlib
import dataclasses
import json
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import fewshot.commands
from fewshot.cli import main
from fewshot.commands.help import KEYS, PURPOSES
from guided.errors import InputError


def config_class(command):
    module = import_module(f"fewshot.commands.{command}")
    classes = [c for name, c in vars(module).items() if name.endswith(("Command", "Config"))]
    (found,) = (c for c in classes if c.__module__ == module.__name__)
    return found


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, arguments):
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    folder = Path(fewshot.commands.__file__).parent
    others = {"__init__", "common", "evaluate_files", "help", "published", "replay"}
    modules = {path.stem for path in folder.glob("*.py")} - others
    assert set(PURPOSES) == modules
    for name, purpose in PURPOSES.items():
        assert re.search(rf"^  {name} +{re.escape(purpose)}$", printed.out, re.M)
    assert max(map(len, printed.out.splitlines())) <= 80


HELP = "from fewshot.cli import main; main({})"
LAZY = "import fewshot, guided, fewshot.data, fewshot.learners, fewshot.tasks, guided.guidance"
SLOW = ["learn2learn", "torchvision", "sklearn", "matplotlib", "pandas", "scipy.stats"]
SLOW += ["tensorboard", "torchmetrics"]
HEAVY = [*SLOW, "torch", "numpy", "yaml"]


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        (HELP.format(["--help"]), HEAVY),
        (HELP.format(["compare", "x.yaml", "--help"]), HEAVY),
        (LAZY, HEAVY),
        ("import fewshot.commands.compare", SLOW),
        ("from fewshot.learners import MAML, NeuralStatistician", SLOW),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(python, program, heavy):
    found = "[name for name in sys.argv[1:] if name in sys.modules]"
    printed = python(f"{program}\nimport sys, json\nprint(json.dumps({found}))", *heavy)
    assert printed.startswith("usage: fewshot ") == ("main" in program)
    assert json.loads(printed.splitlines()[-1]) == []


@pytest.mark.parametrize("command", PURPOSES)
def test_help_of_a_command(capsys, command):
    """Short help fits a screen; the long one has all keys, and no object's representation."""
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith(f"  fewshot {command}")]) == 2
    for key in KEYS[command]:
        assert any(line.startswith(f"  --{key.replace('_', '-')} ") for line in lines)
    if command == "evaluate":  # two of its keys are another command's
        assert main([command, "--replay", "results.json", "--help-all"]) == 0
        assert {"--replay", "--row"} <= set(capsys.readouterr().out.split())
    assert main([command, "--help-all"]) == 0
    printed = capsys.readouterr().out
    keys = re.findall(r"^--(\S+) ", printed, re.M)
    expected = {field.name for field in dataclasses.fields(config_class(command))}
    assert expected | set(KEYS[command]) - {"replay", "row"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert not re.search(r"<(class '|function|factory)|functools|Callable|typing\.", printed)
    assert max(map(len, printed.splitlines())) <= 120
    if command == "compare":
        assert "pretrain.schedule {constant,cosine} (default: constant)" in printed
        assert "metric=squared_euclidean" in printed
        assert "attributes (required)" in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("guided-fewshot")


def test_unknown_command(capsys):
    assert main(["evalute", "x.yaml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "no command is called 'evalute'; did you mean evaluate? Commands: " in printed.err


LOWER = "lower the sizes in the configuration: widths, latent_dim, image_size, batch_size"


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume\n"),
        (BrokenPipeError(), 141, ""),
        (RuntimeError("a bug"), None, ""),
        (MemoryError(), 2, f"not enough memory; {LOWER}\n"),
        (InputError("a\n\x1b[2J\u2028" + "b" * 5000), 2, r"a\n\x1b[2J\u2028" + "b" * 1984 + "…\n"),
    ],
)
def test_how_a_command_ends(monkeypatch, capsys, error, status, printed):
    """A mistake of the program is not hidden."""

    def ended(_):
        raise error

    monkeypatch.setattr("fewshot.commands.data.main", ended)
    with pytest.raises(RuntimeError) if status is None else contextlib.nullcontext():
        assert main(["data"]) == status
    assert capsys.readouterr().err == (printed and f"fewshot data: {printed}")


@pytest.mark.parametrize("width", [2**42, 2**62])
def test_an_absurd_width_is_told_in_one_line(width, fails, tmp_path):
    data = "{class_path: Glyphs, init_args: {n_alphabets: 9, n_characters: 3, n_drawers: 2}}"
    chosen = {
        "dataset": data,
        "pretrain.backbone": f"{{class_path: Conv4, init_args: {{width: {width}}}}}",
        "pretrain.steps": "1",
        "pretrain.batch_size": "4",
    }
    arguments = ["pretrain", *(word for key in chosen for word in (f"--{key}", chosen[key]))]
    said = fails(*arguments, "--output", str(tmp_path / "run"), writes=True)
    assert "not enough memory (" in said
    assert LOWER in said
