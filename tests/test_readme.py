"""The README says what the published files and the code say."""

import json
import re
from pathlib import Path

import pytest

from fewshot.readme import BLOCK, fill

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PUBLISHED = sorted((ROOT / "runs" / "published").glob("*.json"))


def test_tables_are_what_the_published_files_give():
    assert len(BLOCK.findall(README)) >= 3
    assert fill(README, ROOT) == README


def test_a_changed_number_is_noticed():
    table = BLOCK.search(README).group(5)
    number = re.search(r"\d+\.\d", table).group()
    tampered = README.replace(table, table.replace(number, "0.7", 1))
    assert fill(tampered, ROOT) == README


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_results_say_how_they_were_made(file):
    results = json.loads(file.read_text())
    assert results["versions"]["git"], "made outside a checkout"
    assert not results["versions"]["git"].endswith("dirty"), "made from uncommitted code"
    assert results["hardware"]["processor"]
    output = results["config"]["output"]
    assert output is None or not Path(output).is_absolute(), "names a machine's folder"
    assert "rows" not in results or results["seconds"] > 0
    assert all(len(row["seeds"]) >= 3 and row["episodes"] >= 600 for row in results.get("rows", []))


def test_python_example_runs(tmp_path, monkeypatch, capsys):
    """The README's code as it stands, with fewer steps."""
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert "steps=300" in code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    exec(code.replace("steps=300", "steps=3"), {})
    assert Path("encoder.safetensors").exists()
    assert 0 < float(capsys.readouterr().out.split()[0]) < 80


def test_links_and_paths_exist():
    for path in re.findall(r"`((?:configs|benchmarks|examples|runs/published)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
