"""Executors: the same cells whatever computes them, and the rest when one cannot be computed."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fewshot.commands.common import StudyCommand
from fewshot.study.cells import Cells
from fewshot.study.executors import Local, Serial
from fewshot.study.executors.base import Queue
from fewshot.study.executors.progress import Progress
from guided.errors import InputError


def run(kind, toy, folder, *faults):
    """Compute the toy plan; returns its cells by name, and the error if there was one."""
    plan = functools.partial(toy.plan, str(folder), faults)
    cells, error = plan(), None
    try:
        executor = Serial() if kind == "serial" else Local(plan, 2)
        executor.run(cells, "toy")
    except InputError as refused:
        error = str(refused)
    return {task.cell.name[:3]: task.cell for task in cells.tasks.values()}, error


def found(toy, cells):
    return {name: toy.number(cell) for name, cell in cells.items() if cell.done}


@pytest.mark.parametrize("kind", ["serial", "local"])
def test_every_cell_is_computed_after_what_it_needs(kind, toy, tmp_path, numbers):
    cells, error = run(kind, toy, tmp_path)
    assert error is None
    assert found(toy, cells) == numbers
    workers = {cell.facts["pid"] for cell in cells.values()}
    assert (workers == {os.getpid()}) == (kind == "serial")
    before = {cell.folder: cell.facts for cell in cells.values()}
    again, _ = run(kind, toy, tmp_path)
    assert {cell.folder: cell.facts for cell in again.values()} == before, "nothing is computed"


def test_a_worker_that_dies_is_replaced(toy, tmp_path, numbers):
    cells, error = run("local", toy, tmp_path, ("c01", "dies once"))
    assert error is None
    assert found(toy, cells) == numbers
    assert (cells["c01"].folder / "tried").read_text() == "xx"


def test_workers_end_with_the_process_that_started_them(toy, tmp_path):
    """Killed, it cannot end them; they would compute on beside the next run, and never end."""
    program = f"""
import functools
import toy_plan
from fewshot.study.executors import Local

plan = functools.partial(toy_plan.plan, {str(tmp_path)!r}, [("c00", "sleeps"), ("c10", "sleeps")])
Local(plan, 2).run(plan(), "toy")
"""
    paths = os.pathsep.join([str(Path(toy.__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths}
    first = subprocess.Popen([sys.executable, "-c", program], env=environment)
    wait_until(lambda: len(list(tmp_path.glob("cells/c[01]0-*/tried"))) == 2)
    below = workers_of(first.pid)
    assert len(below) >= 2
    first.kill()
    first.wait()
    wait_until(lambda: not any(map(alive, below)))


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_workers_take_cards_in_turn(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    plan = functools.partial(toy.plan, str(tmp_path))
    cells = plan()
    Local(plan, 2, cards=3).run(cells, "toy")
    assert {task.cell.facts["card"] for task in cells.tasks.values()} == {"4", "5"}


def test_what_cannot_be_computed_is_named_and_the_rest_is_finished(toy, tmp_path, numbers):
    cells, error = run("local", toy, tmp_path, ("c01", "dies"), ("c12", "refuses"))
    assert (cells["c01"].folder / "tried").read_text() == "xxx", "two more tries"
    # In the first column two cells need the one that dies; in the second, one the one that refuses.
    left = {"c01", "c02", "c03", "c12", "c13"}
    assert set(found(toy, cells)) == set(numbers) - left
    assert "(and 1 more)" in error
    assert "c12" in error or "c01" in error
    assert "lower learning_rate" in error or "died 3 times" in error
    # What was at fault is mended: only the rest is computed.
    cells, error = run("local", toy, tmp_path)
    assert error is None
    assert found(toy, cells) == numbers
    assert (cells["c00"].folder / "tried").read_text() == "x"


def test_workers_that_cannot_plan_say_why(toy, tmp_path):
    plan = functools.partial(toy.plan_here, str(tmp_path))
    with pytest.raises(InputError, match="data_root: no images any more"):
        Local(plan, 2).run(plan(), "toy")


def test_serially_the_first_error_ends_it(toy, tmp_path):
    cells, error = run("serial", toy, tmp_path, ("c01", "refuses"))
    assert error == "lower learning_rate"
    assert set(found(toy, cells)) == {"c00"}


def test_ready_tasks_come_in_the_order_of_the_plan(tmp_path, toy, numbers):
    cells = toy.plan(tmp_path)
    queue, order = Queue(cells.missing), []
    while task := queue.take():
        order.append(task.cell.name[:3])
        queue.finished(task)
    assert order[:3] == ["c00", "c10", "c20"]
    assert sorted(order) == sorted(numbers)
    assert queue.left == {}


def test_the_time_left_is_known_when_each_kind_has_finished(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cells = Cells(tmp_path)
    for kind in ("encoder", "wrong"):
        for i in range(3):
            for arm in ("pixels", "vae"):
                name = f"{kind}-{arm}-seed{i}"
                cells.plan(name, {"cell": kind, "arm": arm, "i": i}, lambda _: None)
    pixels, vae, _, more, *_, wrong = tasks = cells.missing
    with Progress("toy", tasks, workers=2) as progress:
        for task, seconds in ((pixels, 0), (vae, 30), (more, 20), (wrong, 4)):
            assert progress.seconds_left is None
            progress.started(task)
            now[0] += seconds
            progress.finished(task)
        # A trained encoder, two untrained ones, and wrong answers, of pixels as of the other arm.
        assert progress.seconds_left == (25 + 2 * 0 + 2 * 4 + 3 * 4) / 2
    with Progress("toy", tasks, workers=2) as progress:  # a cluster tells no starts
        for task in tasks[:-1]:
            progress.finished(task)
        assert progress.seconds_left is None


# Whole studies.


@pytest.fixture(scope="module")
def environment(shared_cache):
    return os.environ | {"FEWSHOT_CACHE": str(shared_cache), "OMP_NUM_THREADS": "2"}


def command(file, output, *arguments):
    module = [sys.executable, "-m", "fewshot.cli"]
    return [*module, "compare", str(file), "--output", str(output), *arguments]


def test_two_workers_give_the_same_bits(finished, same_numbers, environment, tmp_path):
    """Also when one is killed, the study is interrupted, and another waits for it."""
    folder = tmp_path / "run"
    start = command(finished.file, folder, "--workers", "2")
    first = subprocess.Popen(
        start,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: list(folder.glob("cells/encoder-vae*/cell.json")))
    children = workers_of(first.pid)
    assert children
    os.kill(children[-1], signal.SIGKILL)
    time.sleep(0.5)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 143, errors
    assert "terminated; run the same command again" in errors
    assert "leaked" not in errors
    wait_until(lambda: not any(map(alive, children)))  # no worker is left
    assert not (folder / "results.json").exists()
    done = subprocess.run(start, env=environment, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    assert "step 2 of 8: " in errors + done.stderr, "without a terminal, a line a validation"
    same_numbers(folder)


def workers_of(pid):
    """Processes below one, the last ones started last."""
    tree = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            child, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        tree.setdefault(int(rest.rpartition(") ")[2].split()[1]), []).append(int(child))
    found, left = [], [pid]
    while left:
        below = sorted(tree.get(left.pop(0), ()))
        found += below
        left += below
    return sorted(found)


def test_a_second_run_waits_for_the_first(finished, environment, tmp_path):
    folder = tmp_path / "run"
    start = [*command(finished.file, folder, "--workers", "1"), "--seeds", "[0]"]
    pipes = {"env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(start, **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    waited = ["in use by another run of fewshot; waiting" in text for text in outputs]
    assert sorted(waited) == [False, True]
    assert "finished before" in outputs[waited.index(True)]


@pytest.mark.parametrize(
    ("device", "share", "workers"),
    [
        ("cuda", 1.0, 4),
        ("cuda", 0.5, 8),
        ("cuda", 0.7, 4),  # one on each, and no fifth on two halves
        ("cuda", 0.4, 8),
        ("cuda:1", 0.25, 4),
    ],
)
def test_there_are_as_many_workers_as_the_cards_hold(device, share, workers, monkeypatch):
    monkeypatch.delenv("FEWSHOT_WORKERS")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    made = StudyCommand(gpus_per_cell=share).executor_of(lambda: None, device)
    assert made.workers == workers


@pytest.mark.parametrize("name", ["workers", "gpus_per_cell"])
def test_impossible_numbers_are_refused(name, finished, fails):
    assert f"{name}: expected" in fails("compare", str(finished.file), f"--{name}", "0")
