"""``guided`` knows nothing of episodes."""

import ast
from pathlib import Path

import pytest

import guided

FOLDER = Path(guided.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))


def imported(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this check"
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=[str(s.relative_to(FOLDER)) for s in SOURCES])
def test_no_file_imports_the_other_half(source: Path) -> None:
    assert imported(source).isdisjoint({"fewshot", "learn2learn", "gym"})


def test_the_check_sees_the_files_and_their_imports() -> None:
    assert FOLDER / "metrics" / "probe.py" in SOURCES
    assert {"torch", "guided"} <= imported(FOLDER / "pretrain.py")
