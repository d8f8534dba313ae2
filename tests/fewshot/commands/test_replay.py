"""``fewshot evaluate --replay``: one row computed again, from its cells or from nothing."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fewshot.cli import main
from guided.storage.files import read_json

pytestmark = pytest.mark.usefixtures("cache")


def position(finished, arm, learner, latents="all", n_way=3):
    """Of a row among the results'."""
    wanted = (arm, learner, latents, n_way)
    columns = ("arm", "learner", "latents", "n_way")
    rows = finished.results["rows"]
    (found,) = (i for i, row in enumerate(rows) if tuple(row[c] for c in columns) == wanted)
    return found


@pytest.fixture
def replay(capsys):
    def run(file, row, *arguments):
        assert main(["evaluate", "--replay", str(file), "--row", str(row), *arguments]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def alone(finished, tmp_path):
    """The study's numbers without its cells, for a test to change."""
    (tmp_path / "numbers").mkdir()
    for name in ("results.json", "episodes.npz"):
        shutil.copy(finished.folder / name, tmp_path / "numbers" / name)
    return tmp_path / "numbers" / "results.json"


@pytest.mark.parametrize(
    ("arm", "learner", "latents", "n_way"),
    [("vae", "trained", "all", 3), ("guided", "prototypical", "class", 2)],
)
def test_a_row_from_the_studys_cells(finished, replay, monkeypatch, arm, learner, latents, n_way):
    """On the study's device, whatever there is now."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")}
    row = position(finished, arm, learner, latents, n_way)
    printed = replay(finished.folder / "results.json", row)
    named = f"{arm} (class)" if latents == "class" else arm
    assert f"row {row}: {named}, {learner}, {n_way}-way" in printed
    error = finished.results["rows"][row]["error"]
    assert f"error {error:.2f} %: the same in all 40 episodes" in printed
    assert {file: file.stat().st_mtime_ns for file in finished.folder.rglob("*")} == before


def test_a_row_from_nothing(finished, replay, alone, tmp_path, monkeypatch):
    """Encoder and learner are trained again, the others are not."""
    monkeypatch.chdir(tmp_path)
    row = position(finished, "guided", "trained", "class")
    printed = replay(alone, row, "--output", str(tmp_path / "again"))
    assert "the same in all 40 episodes" in printed
    cells = {folder.name.rsplit("-", 1)[0] for folder in (tmp_path / "again" / "cells").iterdir()}
    names = ("encoder-guided-seed{}", "train-guided-seed{}-class-trained")
    assert cells == {name.format(seed) for name in names for seed in (0, 1)}
    assert sorted(path.name for path in alone.parent.iterdir()) == ["episodes.npz", "results.json"]


def test_removed_weights_are_trained_again(finished, replay, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (removed,) = run.glob("cells/encoder-vae-seed1-*/encoder.safetensors")
    weights = load_file(removed)
    removed.unlink()
    printed = replay(run / "results.json", position(finished, "vae", "prototypical"))
    assert "the same in all 40 episodes" in printed
    again = load_file(removed)
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def tampered(alone, row, *, counts=None, error=None, **columns):
    """Change a row's counts by a function, and its error so that they agree again."""
    content = read_json(alone)
    values = content["rows"][row]
    if counts:
        with np.load(alone.with_name("episodes.npz")) as stored:
            arrays = {name: stored[name] for name in stored}
        key = "|".join(["wrong", values["arm"], values["learner"], values["latents"], "3w1s"])
        arrays[key] = counts(arrays[key])
        np.savez(alone.with_name("episodes.npz"), **arrays)
        values["error"] = round(100 * float(arrays[key].mean()) / 12, 4)
    values["error"] = error or values["error"]
    alone.write_text(json.dumps(content | {"rows": [*content["rows"][:row], values | columns]}))


def shifted(counts):
    """Each episode has the counts of the next: the same error."""
    return np.roll(counts, 1, axis=1)


def test_other_counts_within_the_interval_are_told(finished, replay, alone):
    row = position(finished, "pixels", "prototypical")
    wrong = finished.wrong["pixels|prototypical|all|3w1s"]
    differ = int((shifted(wrong) != wrong).sum())
    tampered(alone, row, counts=shifted)
    assert 0 < differ < 40
    printed = replay(alone, row, "--output", str(alone.parent / "again"))
    assert f"within its interval; other counts in {differ} of 40 episodes" in printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error": 1.0}, "its row has the error 1.0 %, its counts"),
        ({"episodes": 30}, "its counts have no pixels|prototypical|all|3w1s of (2, 30) seeds and"),
        ({"arm": "none"}, "its counts have no none|prototypical|all|3w1s"),
        ({"counts": np.zeros_like, "error_ci95": [0.0, 0.0]}, "other counts in"),
    ],
)
def test_numbers_that_cannot_be_had_again_are_refused(finished, fails, alone, changes, message):
    row = position(finished, "pixels", "prototypical")
    tampered(alone, row, **changes)
    line = fails("evaluate", "--replay", str(alone), "--row", str(row), writes="counts" in changes)
    assert message in line


@pytest.mark.parametrize(
    ("row", "expected"), [("-1", "at least 0"), ("20", "0 to 19, the rows of")]
)
def test_a_row_out_of_range(finished, fails, row, expected):
    assert len(finished.results["rows"]) == 20
    file = str(finished.folder / "results.json")
    line = fails("evaluate", "--replay", file, f"--row={row}")
    assert f"row: expected {expected}" in line
    assert f"got {row}" in line


def test_what_is_no_comparison(fails, alone):
    assert "row" in fails("evaluate", "--replay", str(alone))
    for content, message in (
        ({"rows": [{"error": 3}]}, "not the result of a finished run"),
        ({"study": "s", "rows": [{"arm": "vae", "trials": 400}]}, "is no comparison"),
    ):
        alone.write_text(json.dumps(content))
        assert message in fails("evaluate", "--replay", str(alone), "--row=0")
