"""Cells: computed once, found again when nothing changed, never when something did."""

import json

import pytest

from fewshot.study.cells import Cell, Cells, Seconds

DEPENDS = {"steps": 3, "seed": 0}


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path)


def never(cell):
    raise AssertionError("computed again")


def test_a_cell_is_computed_once_whatever_its_prefix(cells, tmp_path):
    cell = cells.compute("encoder-vae", DEPENDS, lambda cell: {"history": [1, 2]})
    assert cell.folder.parent == tmp_path / "cells"
    assert cell.name.startswith("encoder-vae-")
    assert cell.facts["history"] == [1, 2]
    assert json.loads((cell.folder / "cell.json").read_text())["depends"] == DEPENDS
    again = Cells(tmp_path).compute("encoder-of-another-arm", {"seed": 0, "steps": 3}, never)
    assert again.folder == cell.folder


def test_other_dependencies_are_another_cell(cells):
    facts = [DEPENDS, {"steps": 4, "seed": 0}, {"steps": 3}, {"steps": 3.5}]
    assert len({cells.compute("c", depends, lambda _: None).folder for depends in facts}) == 4
    # Also those that it needs.
    first, second = (cells.compute("a", {"seed": seed}, lambda _: None) for seed in (0, 1))
    one = cells.compute("b", {}, lambda _: None, needs={"encoder": first})
    other = cells.compute("b", {}, lambda _: None, needs={"encoder": second})
    assert one.folder != other.folder
    assert one.depends == {"encoder": first.digest}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_work_does_not_count_and_keeps_its_state(cells, tmp_path, error):
    with pytest.raises(ValueError, match="JSON"):  # facts that JSON cannot hold
        cells.compute("nan", {}, lambda cell: {"error": float("nan")})
    assert not list(tmp_path.rglob("*.json"))

    def work(cell):
        cell.folder.mkdir(parents=True)
        cell.state_file.write_bytes(b"state")
        raise error

    with pytest.raises(error):
        cells.compute("c", DEPENDS, work)
    cell = Cell.find(tmp_path / "cells", "c", DEPENDS)
    assert not cell.done
    assert cell.state_file.read_bytes() == b"state"
    assert cells.compute("c", DEPENDS, lambda cell: None).done
    assert not cell.state_file.exists()


def test_a_longer_training_starts_from_the_state_of_a_shorter_one(cells):
    def work(cell):
        cell.folder.mkdir(parents=True, exist_ok=True)
        found = cell.state_file.read_text() if cell.state_file.exists() else ""
        cell.state_file.write_text(found + "x")
        return {"found": found}

    shorter = cells.compute("short", {"steps": 1}, work, keep_state=True)
    longer = cells.compute("long", {"steps": 2}, work, start_from=shorter)
    assert (shorter.facts["found"], longer.facts["found"]) == ("", "x")
    assert shorter.state_file.read_text() == "x"
    assert not longer.state_file.exists()


def test_seconds_count_each_cell_once_and_tell_new_from_reused(tmp_path):
    first = Cells(tmp_path)
    names = ("vae", "the same under another name", "vae")
    cell = first.compute("vae", DEPENDS, lambda cell: None)
    computed = cell.facts["seconds"]
    marker = cell.folder / "cell.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"seconds": 7.5}))
    second = Cells(tmp_path)
    for name in names:
        first.compute(name, DEPENDS, never)
        second.compute(name, DEPENDS, never)
    assert first.seconds == Seconds(computed=computed, reused=0)
    new = second.compute("new", {}, lambda cell: None)
    seconds = new.facts["seconds"]
    assert second.seconds == Seconds(computed=seconds, reused=7.5)
    assert second.seconds.total == pytest.approx(7.5 + seconds)
