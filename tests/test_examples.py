"""The examples run as they stand, are short, and end with an error better than chance."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
assert EXAMPLES


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One folder for the glyphs that all of them draw."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_is_short_runs_and_beats_chance(file, cache, tmp_path, monkeypatch, capsys, request):
    assert len(file.read_text().splitlines()) <= 40
    if "learn2learn" in file.read_text():
        request.getfixturevalue("learn2learn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(cache))
    monkeypatch.setattr(sys, "argv", [file.name, "15"])
    runpy.run_path(str(file), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    error = float(re.match(r"(\d+\.\d) % ", printed[-1]).group(1))
    assert 1 < error < 79
    assert not list(tmp_path.iterdir()), "nothing is left behind"
