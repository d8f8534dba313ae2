"""A toy plan that workers can import, and what a whole study must be equal to."""

import json

import pytest
import torch
from safetensors.torch import load_file

TOY = '''
"""A plan whose cells add what they need; some refuse, die, or die once."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from fewshot.study.cells import Cells
from guided.errors import InputError


def number(cell):
    return int((cell.folder / "number").read_text())


def work(needs, fault, cell):
    cell.folder.mkdir(parents=True, exist_ok=True)
    tried = cell.folder / "tried"
    tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
    if fault == "sleeps":
        time.sleep(300)
    if fault == "refuses":
        raise InputError("lower learning_rate")
    if fault == "dies" or (fault == "dies once" and tried.read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    (cell.folder / "number").write_text(str(1 + sum(map(number, needs.values()))))
    return {"pid": os.getpid(), "card": os.environ.get("CUDA_VISIBLE_DEVICES")}


def plan(folder, faults=()):
    """A triangle: each cell needs the two before it in its column."""
    cells, faults = Cells(Path(folder)), dict(faults)
    for column in range(3):
        before = []
        for row in range(4):
            needs = {f"need{i}": cell for i, cell in enumerate(before[-2:])}
            name = f"c{column}{row}"
            fault = faults.get(name)
            depends = {"cell": "toy", "name": name}

            def run(cell, needs=needs, fault=fault):
                return work(needs, fault, cell)

            before.append(cells.plan(name, depends, run, needs=needs))
    return cells


def plan_here(folder):
    """The same plan; another process finds no images."""
    if multiprocessing.parent_process() is not None:
        raise InputError("data_root: no images any more")
    return plan(folder)
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The module above, which workers can import too."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy_plan.py").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import toy_plan

        yield toy_plan


@pytest.fixture
def numbers():
    """What the toy plan's cells come to."""
    return {f"c{column}{row}": n for column in range(3) for row, n in enumerate((1, 2, 4, 7))}


@pytest.fixture
def same_numbers(finished):
    """Check a run folder: rows, counts and encoders are those of the serial study, to the bit."""

    def check(folder):
        results = json.loads((folder / "results.json").read_text())
        for name in ("rows", "diagnostics"):
            assert results[name] == finished.results[name]
        counts = (folder / "episodes.npz").read_bytes()
        assert counts == (finished.folder / "episodes.npz").read_bytes()
        for name in encoders(finished.folder):
            # The order of the facts in a file's header differs from one writing to the next.
            one, other = (load_file(base / name) for base in (folder, finished.folder))
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one), name

    return check


def encoders(folder):
    found = [path.relative_to(folder) for path in folder.glob("cells/*/encoder.safetensors")]
    assert len(found) > 8
    return found
