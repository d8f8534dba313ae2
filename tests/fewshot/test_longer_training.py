"""A longer training goes on from a shorter one, to the same bits."""

import json

import pytest
import torch

import fewshot.meta_train
from guided.encoder import Encoder
from guided.training.step import Trainer

pytestmark = pytest.mark.usefixtures("cache")


def weights(folder):
    return Encoder.load(folder / "encoder.safetensors").state_dict()


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in other)


@pytest.fixture
def steps_taken(monkeypatch):
    """The numbers of the optimizer steps that are taken, in pretraining and meta-training."""
    taken = []
    for owner in (Trainer, fewshot.meta_train._Trainer):
        step = owner.step

        def counted(self, number, step=step):
            taken.append(number)
            return step(self, number)

        monkeypatch.setattr(owner, "step", counted)
    return taken


@pytest.mark.parametrize(("steps", "resumed"), [(4, 4), (5, 4), (1, 0)])
@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_a_longer_training_goes_on_to_the_same_bits(
    run_small, tmp_path, steps_taken, command, steps, resumed
):
    """Also from a length that is no multiple of validate_every: its last validation is ignored."""
    key = f"--{command}.steps"
    run_small(command, key, "8", "--seed=2", output=tmp_path / "whole")
    run_small(command, key, str(steps), "--seed=2")
    short = weights(tmp_path / "run")
    steps_taken.clear()
    printed = run_small(command, key, "8", "--seed=2")
    assert f"({command}.steps)" in printed
    assert steps_taken == list(range(resumed, 8))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert same(weights(tmp_path / "run" / "superseded" / "1"), short)
    if command == "pretrain":
        history = json.loads((tmp_path / "run" / "results.json").read_text())["history"]
        assert [entry["step"] for entry in history] == [2, 4, 6, 8]
    # A shorter one does not come from the longer one.
    run_small(command, key, str(steps), "--seed=2")
    assert same(weights(tmp_path / "run"), short)


def test_a_schedule_that_knows_its_end_starts_anew(run_small, tmp_path, steps_taken):
    run_small("pretrain", "--pretrain.schedule=cosine", "--pretrain.steps=4")
    steps_taken.clear()
    run_small("pretrain", "--pretrain.schedule=cosine", "--pretrain.steps=8")
    assert steps_taken == list(range(8))
