"""A study that is run again, killed or made longer: what is done is not done again."""

import copy
import json
import multiprocessing
import shutil
import signal
import time

import pytest

from fewshot.cli import main
from fewshot.learners.prototypical import Prototypical
from fewshot.study import StudyResult
from fewshot.study.counts import Counts
from guided.training.state import ResumableState

pytestmark = pytest.mark.usefixtures("cache")


def wrong_of(folder):
    wrong = Counts.load(folder / "episodes.npz").wrong
    return {"|".join(key): counts for key, counts in wrong.items()}


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*")}


def test_a_second_run_computes_nothing(finished, tmp_path):
    """Nor does its report: there is no model that it could run."""
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (run / "finished.json").unlink()
    for weights in run.rglob("*.safetensors"):
        weights.unlink()
    before = mtimes(run)
    # The configuration that the run wrote is the one that finds its cells.
    assert main(["compare", str(run / "config.yaml"), "--output", str(run)]) == 0
    assert mtimes(run) == before
    again = StudyResult.load(run)
    assert again.rows == StudyResult.load(finished.folder).rows
    assert again.to_json()["diagnostics"] == finished.results["diagnostics"]
    assert again.facts["config"] == finished.results["config"] | {"output": str(run)}
    assert again.seconds == again.seconds_reused == finished.results["seconds"]
    for picture in ("errors.png", "episodes/guided.png"):
        assert (run / picture).read_bytes() == (finished.folder / picture).read_bytes()
    # One report in TensorBoard, not one beside the other.
    assert len(list((run / "_report").glob("events.*"))) == 2


PRELOAD = ["fewshot.commands.compare", "matplotlib.backends.backend_agg", "sklearn.linear_model"]
PRELOAD += ["torch._dynamo", "torch.utils.tensorboard.writer"]


def kill_when(arguments, happened):
    """Run the command in a process, forked from one that has imported everything; kill it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=main, args=(arguments,))
    process.start()
    deadline = time.monotonic() + 300
    while not happened():
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_again_and_again_it_ends_with_the_same_bits(finished, tmp_path, monkeypatch):
    """Killed in a pretraining, in a meta-training and in the second seed, then left to finish."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tmp_path / "run"
    arguments = ["compare", str(finished.file), "--output", str(run)]
    for moment in ("encoder-vae-seed0-*", "train-*", "encoder-*-seed1-*"):
        kill_when(arguments, lambda m=moment: any((run / "cells").glob(f"{m}/state.pt")))
    assert not (run / "results.json").exists()
    done = {path: time for path, time in mtimes(run).items() if path.name == "cell.json"}
    assert len(done) > 5
    restored = []
    restore = ResumableState.restore
    monkeypatch.setattr(
        ResumableState, "restore", lambda self, path: (restored.append(path), restore(self, path))
    )
    assert main(arguments) == 0
    assert len(restored) == 1, "the training that was killed last went on from its state"
    assert done.items() <= mtimes(run).items(), "what was done was not done again"
    assert json.loads((run / "results.json").read_text())["rows"] == finished.results["rows"]
    wrong = wrong_of(run)
    assert set(wrong) == set(finished.wrong)
    for key, counts in finished.wrong.items():
        assert wrong[key].tobytes() == counts.tobytes(), key


def test_a_longer_training_goes_on_from_a_shorter_one(finished, write, tmp_path, monkeypatch):
    """To the bit what it would have been alone, without doing the shared steps twice."""
    config = copy.deepcopy(finished.config)
    config["arms"] = {name: config["arms"][name] for name in ("random", "vae")}
    config["seeds"] = [0]
    config["learners"]["trained"]["train"] |= {"steps": 8, "validate_every": 2}
    steps = []
    loss = Prototypical.loss
    monkeypatch.setattr(Prototypical, "loss", lambda self, e: (steps.append(1), loss(self, e))[1])

    def run(name, **learners):
        values = config | {"learners": config["learners"] | learners}
        assert main(["compare", write(values), "--output", str(tmp_path / name)]) == 0
        return wrong_of(tmp_path / name)

    whole = config["learners"].pop("trained")
    parts = {f"trained_{n}": whole | {"train": whole["train"] | {"steps": n}} for n in (8, 2, 3, 4)}
    alone = run("alone", trained=whole)
    assert len(steps) == 2 * 8
    steps.clear()
    together = run("together", **parts)
    # Three is no moment of validation: nothing goes on from it.
    assert len(steps) == 2 * (8 + 3 - 2)
    assert not list((tmp_path / "together").rglob("state.pt"))
    for key, errors in alone.items():
        assert together[key.replace("trained", "trained_8")].tobytes() == errors.tobytes(), key
