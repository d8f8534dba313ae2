"""Cells: planned once, computed once, found again unless something changed."""

import json
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from fewshot.study.cells import Cell, Cells, Seconds
from guided.errors import InputError

DEPENDS = {"steps": 3, "seed": 0}


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path)


def never(cell):
    raise AssertionError("computed again")


def computed(cells, *arguments, **more):
    cell = cells.plan(*arguments, **more)
    cells.compute(cell.digest)
    return cell


def test_a_cell_is_computed_once_whatever_its_prefix(cells, tmp_path):
    cell = computed(cells, "encoder-vae", DEPENDS, lambda cell: {"history": [1, 2]})
    assert cell.folder.parent == tmp_path / "cells"
    assert cell.name.startswith("encoder-vae-")
    assert cell.facts["history"] == [1, 2]
    depends = json.loads((cell.folder / "cell.json").read_text())["depends"]
    assert depends == DEPENDS | {"threads": 1}
    for again in (cells, Cells(tmp_path)):
        other = computed(again, "encoder-of-another-arm", {"seed": 0, "steps": 3}, never)
        assert other.folder == cell.folder
        assert again.missing == []


def test_a_run_that_waited_finds_what_the_other_computed(tmp_path):
    waiting = Cells(tmp_path)
    cell = computed(Cells(tmp_path), "encoder-vae", DEPENDS, lambda cell: None)
    assert computed(waiting, "encoder-of-another-arm", DEPENDS, never).folder == cell.folder


def test_other_dependencies_are_another_cell(cells):
    facts = [DEPENDS, {"steps": 4, "seed": 0}, {"steps": 3}, {"steps": 3.5}]
    assert len({cells.plan("c", depends, never).folder for depends in facts}) == 4
    # Also those that it needs.
    first, second = (cells.plan("a", {"seed": seed}, never) for seed in (0, 1))
    one = cells.plan("b", {}, never, needs={"encoder": first})
    other = cells.plan("b", {}, never, needs={"encoder": second})
    assert one.folder != other.folder
    assert one.depends == {"encoder": first.digest, "threads": 1}
    assert cells.tasks[one.digest].needed == [first.digest]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_work_does_not_count_and_keeps_its_state(cells, tmp_path, error):
    with pytest.raises(ValueError, match="JSON"):  # facts that JSON cannot hold
        computed(cells, "nan", {}, lambda cell: {"error": float("nan")})
    assert not list(tmp_path.rglob("*.json"))

    def work(cell):
        cell.folder.mkdir(parents=True)
        cell.state_file.write_bytes(b"state")
        raise error

    with pytest.raises(error):
        computed(cells, "c", DEPENDS, work)
    cell = Cell.find(tmp_path / "cells", "c", DEPENDS | {"threads": 1}, "c")
    assert not cell.done
    assert cell.state_file.read_bytes() == b"state"
    assert computed(Cells(tmp_path), "c", DEPENDS, lambda cell: None).done
    assert not cell.state_file.exists()


def test_a_longer_training_starts_from_the_state_of_a_shorter_one(cells):
    def work(cell):
        cell.folder.mkdir(parents=True, exist_ok=True)
        found = cell.state_file.read_text() if cell.state_file.exists() else ""
        cell.state_file.write_text(found + "x")
        return {"found": found}

    shorter = computed(cells, "short", {"steps": 1}, work, keep_state=True)
    longer = computed(cells, "long", {"steps": 2}, work, start_from=shorter)
    assert cells.tasks[longer.digest].needed == [shorter.digest]
    assert (shorter.facts["found"], longer.facts["found"]) == ("", "x")
    assert shorter.state_file.read_text() == "x"
    assert not longer.state_file.exists()


def test_a_cell_is_computed_with_the_threads_of_the_plan(tmp_path):
    """Those of torch, and of the BLAS that numpy and scipy bring along."""
    import scipy.linalg  # noqa: F401

    def threads():
        blas = [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]
        return {"torch": torch.get_num_threads(), "blas": blas}

    before = threads()
    assert len(before["blas"]) >= 2
    for number in (1, 2):
        cells = Cells(tmp_path / str(number), threads=number)
        cell = computed(cells, "threads", DEPENDS, lambda _: threads())
        assert cell.facts["torch"] == number
        assert set(cell.facts["blas"]) == {number}
    assert threads() == before


def test_two_threads_sum_in_another_order(tmp_path):
    """So the number of threads is a part of what numbers depend on, and of the digest."""
    images = torch.randn(64, 8, 28, 28, generator=torch.Generator().manual_seed(0))

    def gradient():
        weights = torch.ones(8, 8, 3, 3, requires_grad=True)
        torch.nn.functional.conv2d(images, weights).square().sum().backward()
        return {"sum": weights.grad.double().sum().item()}

    sums = []
    for number, output in ((1, "a"), (1, "b"), (2, "a")):
        cells = Cells(tmp_path / output, threads=number)
        sums.append(computed(cells, "sum", DEPENDS, lambda _: gradient()).facts["sum"])
    assert sums[0] == sums[1]
    assert sums[2] != sums[0]
    assert sums[2] == pytest.approx(sums[0], rel=1e-4)


def test_seconds_count_each_cell_once_and_tell_new_from_reused(tmp_path):
    first = Cells(tmp_path)
    cell = computed(first, "vae", DEPENDS, lambda cell: time.sleep(0.02))
    first.plan("the same under another name", DEPENDS, never)
    seconds = cell.facts["seconds"]
    assert first.seconds == Seconds(computed=seconds, reused=0)
    marker = cell.folder / "cell.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"seconds": 7.5}))
    second = Cells(tmp_path)
    for name in ("vae", "the same under another name"):
        second.plan(name, DEPENDS, never)
    new = computed(second, "new", {}, lambda cell: None)
    assert second.seconds == Seconds(computed=new.facts["seconds"], reused=7.5)
    assert second.seconds.total == pytest.approx(7.5 + new.facts["seconds"])


def test_a_cell_of_another_plan_is_refused(cells, tmp_path):
    other = Cells(tmp_path).plan("c", {"torch": "another"}, never)
    with pytest.raises(InputError, match="torch, guided-fewshot or the images are others"):
        cells.compute(other.digest)
