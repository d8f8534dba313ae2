"""Cells: found again when nothing changed, never when something did."""

import json
import time

import pytest

from fewshot.study.cells import Cell


@pytest.fixture
def cell(tmp_path):
    return Cell.of(tmp_path, "encoder-vae", {"steps": 3, "seed": 0})


def test_the_same_dependencies_are_the_same_folder(tmp_path, cell):
    assert Cell.of(tmp_path, "encoder-vae", {"seed": 0, "steps": 3}).folder == cell.folder
    assert cell.folder.parent == tmp_path
    assert cell.name.startswith("encoder-vae-")


@pytest.mark.parametrize("depends", [{"steps": 4, "seed": 0}, {"steps": 3}, {"steps": 3.5}])
def test_other_dependencies_are_another_folder(tmp_path, cell, depends):
    assert Cell.of(tmp_path, "encoder-vae", depends).folder != cell.folder


def test_done_when_finished_and_not_before(cell):
    assert not cell.done
    cell.folder.mkdir()
    cell.encoder_file.write_bytes(b"weights")
    cell.state_file.write_bytes(b"state")
    assert not cell.done, "files alone do not make a result"
    cell.finish(time.perf_counter() - 2, history=[1, 2])
    assert cell.done
    assert not cell.state_file.exists()
    assert cell.encoder_file.exists()
    assert cell.facts["history"] == [1, 2]
    assert 2 <= cell.facts["seconds"] < 60
    assert cell.facts["depends"] == {"steps": 3, "seed": 0}


def test_what_json_cannot_hold_does_not_count_as_done(cell):
    with pytest.raises(ValueError, match="JSON"):
        cell.finish(time.perf_counter(), error=float("nan"))
    assert not cell.done
    assert list(cell.folder.glob("*.json")) == []


def test_mark_is_plain_json(cell):
    cell.finish(time.perf_counter())
    assert json.loads((cell.folder / "cell.json").read_text())["depends"] == cell.depends


def test_a_cell_is_found_under_another_name(tmp_path, cell):
    cell.finish(time.perf_counter())
    other = Cell.of(tmp_path, "encoder-of-another-arm", cell.depends)
    assert other.folder == cell.folder
    assert other.done
