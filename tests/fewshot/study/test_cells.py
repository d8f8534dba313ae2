"""Cells: planned once, computed once, found again unless something changed."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from fewshot.study import cells as cells_module
from fewshot.study.cells import Cell, Cells, Seconds
from guided.errors import InputError
from guided.storage.files import read_json, write_arrays, write_bytes, write_json
from guided.training.state import ResumableState

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


def test_the_number_of_threads_is_a_part_of_the_digest(tmp_path):
    """Two threads may sum in another order than one."""
    digests = [Cells(tmp_path, threads=n).plan("c", DEPENDS, never).digest for n in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_seconds_count_each_cell_once_and_tell_new_from_reused(tmp_path):
    first = Cells(tmp_path)
    cell = computed(first, "vae", DEPENDS, lambda cell: time.sleep(0.02))
    first.plan("the same under another name", DEPENDS, never)
    seconds = cell.facts["seconds"]
    assert first.seconds == Seconds(computed=seconds, reused=0)
    marker = cell.folder / "cell.json"
    write_json(marker, read_json(marker) | {"seconds": 7.5})
    second = Cells(tmp_path)
    for name in ("vae", "the same under another name"):
        second.plan(name, DEPENDS, never)
    new = computed(second, "new", {}, lambda cell: None)
    assert second.seconds == Seconds(computed=new.facts["seconds"], reused=7.5)
    assert second.seconds.total == pytest.approx(7.5 + new.facts["seconds"])


def test_a_plan_knows_the_revisions_that_computed_its_cells(tmp_path, monkeypatch):
    for name, revision in (("a", "0123"), ("b", "0123-dirty"), ("c", None), ("d", "0123")):
        monkeypatch.setattr(cells_module, "revision", lambda now=revision: now)
        computed(Cells(tmp_path), name, {"name": name}, lambda cell: None)
    again = Cells(tmp_path)
    for name in "abcd":
        again.plan(name, {"name": name}, never)
    again.plan("not computed yet", {"name": "e"}, never)
    assert again.revisions == ["0123", "0123-dirty", "unknown"]


def test_a_training_knows_all_revisions_that_worked_on_it(tmp_path, monkeypatch):
    def stopped(cell):
        raise KeyboardInterrupt

    monkeypatch.setattr(cells_module, "revision", lambda: "0123-dirty")
    with pytest.raises(KeyboardInterrupt):
        computed(Cells(tmp_path), "a", {}, stopped, log="a/seed0")
    monkeypatch.setattr(cells_module, "revision", lambda: "0124")
    cells = Cells(tmp_path)
    cell = computed(cells, "a", {}, lambda cell: None, log="a/seed0")
    assert cells.revisions == cell.facts["revisions"] == ["0123-dirty", "0124"]
    assert [path.name for path in cell.folder.iterdir()] == ["cell.json"]


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("wrong.npz", change, "wrong.npz is damaged; computed again"),
        ("wrong.npz", Path.unlink, "wrong.npz is missing; computed again"),
        ("figure.png", lambda path: path.write_bytes(b""), "figure.png is damaged; computed again"),
        ("cell.json", change, "cell.json is damaged; computed again"),
        ("cell.json", lambda path: path.write_bytes(b""), "cell.json is damaged; computed again"),
        ("state.pt", change, "state.pt is damaged; its training starts again"),
    ],
)
def test_a_damaged_cell_is_computed_again_and_says_so(tmp_path, capsys, name, damage, said):
    def work(cell):
        write_arrays(cell.folder / "wrong.npz", {"5w1s": np.arange(9)})
        write_bytes(cell.folder / "figure.png", b"pixels")
        found = ResumableState({}).save(cell.state_file) if name == "state.pt" else None
        return {"found": found}

    cell = computed(Cells(tmp_path), "c", DEPENDS, work, keep_state=name == "state.pt")
    right = {path: path.read_bytes() for path in cell.folder.iterdir()}
    assert computed(Cells(tmp_path), "c", DEPENDS, never).done
    damage(cell.folder / name)
    cells = Cells(tmp_path)
    cells.plan("c", DEPENDS, work)
    assert capsys.readouterr().err == f"{cell.name}: {said}\n"
    if name == "state.pt":
        assert not cells.missing and not cell.state_file.exists()
        return
    assert [task.cell.digest for task in cells.missing] == [cell.digest]
    cells.compute(cell.digest)
    for path, content in right.items():
        if path.name != "cell.json":  # which holds the seconds
            assert path.read_bytes() == content
    assert computed(Cells(tmp_path), "c", DEPENDS, never).done


def test_removed_weights_come_back_when_a_new_cell_needs_them(tmp_path, capsys):
    def encode(cell):
        write_bytes(cell.encoder_file, b"weights")
        write_bytes(cell.learner_file, b"more")

    def plan(cells, tests):
        encoder = cells.plan("encoder", {}, encode)
        trained = cells.plan("train", {"steps": 1}, encode, needs={"encoder": encoder})
        for number in range(tests):
            depends = {"test": number}
            cells.plan(f"test{number}", depends, lambda _: None, needs={"source": trained})
        for task in cells.missing:
            task.compute()
        return encoder, trained

    removed = plan(Cells(tmp_path), 1)
    for cell in removed:
        cell.encoder_file.unlink()
    plan(Cells(tmp_path), 1)
    assert not any(cell.encoder_file.exists() for cell in removed)
    plan(Cells(tmp_path), 2)
    assert all(cell.encoder_file.exists() for cell in removed)
    said = sorted(capsys.readouterr().err.splitlines())
    missing = "encoder.safetensors is missing; computed again"
    assert said == [f"{cell.name}: {missing}" for cell in removed]


def test_a_cell_of_another_plan_is_refused(cells, tmp_path):
    other = Cells(tmp_path).plan("c", {"torch": "another"}, never)
    with pytest.raises(InputError, match="torch, guided-fewshot or the images are others"):
        cells.compute(other.digest)


def test_a_part_of_a_plan_is_what_some_cells_need(cells):
    """Also the shorter training that one starts from, and nothing else."""
    short = cells.plan("short", {"steps": 1}, lambda _: None)
    encoder = cells.plan("long", {"steps": 2}, lambda _: None, start_from=short)
    tests = [
        cells.plan("test", {"test": n}, lambda _: None, needs={"encoder": encoder}) for n in (0, 1)
    ]
    cells.plan("other", {"steps": 3}, never)
    part = cells.part(tests[:1])
    assert list(part.tasks) == [cell.digest for cell in (short, encoder, tests[0])]
    for task in part.missing:
        part.compute(task.cell.digest)
    assert tests[0].done and not tests[1].done
    assert part.seconds.reused == 0
