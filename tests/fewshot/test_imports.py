"""Who may import whom, and what is not imported until it is needed."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = [
    "learn2learn",
    "torchvision",
    "sklearn",
    "matplotlib",
    "scipy.stats",
    "tensorboard",
    "torchmetrics",
]


def imported(path, top_level=False):
    """Names of the modules that a file imports; at import time only, if ``top_level``."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_importing_a_command_imports_nothing_slow(python):
    printed = python(
        "import sys, json, fewshot.commands.compare\n"
        "print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))",
        *SLOW,
    )
    assert json.loads(printed) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("guided/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_guided_does_not_know_fewshot(path):
    assert not [name for name in imported(path) if name.split(".")[0] == "fewshot"]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("fewshot/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_learn2learn_is_imported_late_and_in_few_places(path):
    uses = [name for name in imported(path) if name.split(".")[0] == "learn2learn"]
    allowed = path.parent.name == "learners" or path.name == "interop.py"
    assert allowed or not uses
    early = [name for name in imported(path, top_level=True) if name.startswith("learn2learn")]
    assert not early
