"""``--devices 2``: two processes on a CPU, started as a user would, against one."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from fewshot.cli import main

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def run(write, tmp_path, shared_cache):
    """Run a command in processes of their own; returns its exit status and what it wrote."""

    def started(command, config, *flags):
        output = tmp_path / "-".join(["two", *flags])
        done = subprocess.run(
            [
                *(sys.executable, "-m", "fewshot.cli", command, write(config)),
                *("--output", str(output), *flags),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "FEWSHOT_CACHE": str(shared_cache)},
        )
        return done, output

    return started


def training(study):
    return {
        "dataset": study["dataset"],
        "backbone": study["pretrain"]["backbone"],
        "latent_dim": 8,
        "train": {
            "setting": {"n_way": 4, "n_shot": 1, "n_query": 2},
            "episodes_per_step": 4,
            "steps": 3,
            "validation": {"n_way": 3, "n_shot": 1, "n_query": 3},
            "validation_episodes": 10,
            "validate_every": 3,
        },
    }


def compare(one, two, without=()):
    """Weights and batch norm's statistics, equal but for the order of summation."""
    expected, found = load_file(one), load_file(two)
    assert expected.keys() == found.keys()
    for name in without:
        expected.pop(name)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_meta_training_shared_by_two_is_that_of_one(study, run, write, tmp_path, capsys):
    config = training(study)
    done, output = run("train", config, "--devices", "2", "--strategy", "ddp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 steps, kept step 3") == 1, "the first process alone speaks"
    assert main(["train", write(config), "--output", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    # No distance depends on the bias: its gradient is rounding, which Adam enlarges to its step.
    one = tmp_path / "one" / "encoder.safetensors"
    compare(one, output / "encoder.safetensors", without=["head.bias"])


def test_pretraining_shared_by_two_is_that_of_one(study, run, write, tmp_path, capsys):
    """Both guidances, and two views of each image, which stay together."""
    config = {"dataset": study["dataset"], "pretrain": study["pretrain"]}
    config["pretrain"] |= {
        "guidance": [
            {"class_path": "DeformablePCA", "init_args": {"exchange": True}},
            *study["arms"]["guided"]["guidance"],
        ],
        "augmentation": {"rotation": 20, "views": 2},
        "steps": 3,
        "validate_every": 3,
    }
    done, output = run("pretrain", config, "--devices", "2", "--strategy", "ddp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 steps, kept step 3") == 1
    assert main(["pretrain", write(config), "--output", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    compare(tmp_path / "one" / "encoder.safetensors", output / "encoder.safetensors")


def test_what_cannot_be_shared_is_said_once(study, run):
    config = training(study)
    config["train"]["episodes_per_step"] = 3
    done, output = run("train", config, "--devices", "2", "--strategy", "ddp")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("fewshot train")]
    assert lines == ["fewshot train: devices: 2 cannot share 3 equally"]
    assert not list(output.rglob("*.safetensors"))


def test_a_strategy_that_does_not_exist(study, run):
    done, _ = run("train", training(study), "--strategy", "telepathy")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "strategy telepathy" in done.stderr


def test_bfloat16_trains_to_nearly_the_same_weights(study, write, tmp_path, capsys):
    config = {"dataset": study["dataset"], "pretrain": study["pretrain"]}
    weights = {}
    for precision in ("32-true", "bf16-mixed"):
        output = tmp_path / precision
        arguments = ["pretrain", write(config), "--output", str(output), "--precision", precision]
        assert main(arguments) == 0
        weights[precision] = load_file(output / "encoder.safetensors")
    capsys.readouterr()
    full, half = (weights[p]["backbone.body.3.weight"] for p in ("32-true", "bf16-mixed"))
    assert full.dtype == half.dtype == torch.float32
    assert not torch.equal(full, half)
    moved = float((full - half).norm() / full.norm())
    assert moved < 0.1
