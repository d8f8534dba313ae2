"""``fewshot train``: from a checkpoint, or from nothing, to a checkpoint."""

import re

import pytest
import torch

from fewshot.cli import main
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from guided.encoder import Encoder, provenance
from guided.seeds import derive_seed

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def config(study):
    return {
        "dataset": study["dataset"],
        "backbone": {"class_path": "Conv4", "init_args": {"width": 8}},
        "latent_dim": 6,
        "train": {
            "setting": {"n_way": 5, "n_shot": 1, "n_query": 3},
            "steps": 4,
            "validation": {"n_way": 3, "n_shot": 2, "n_query": 4},
            "validation_episodes": 10,
            "validate_every": 2,
        },
    }


@pytest.fixture
def run(tmp_path, write, config, capsys):
    def train(name="run", *arguments):
        output = tmp_path / name
        assert main(["train", write(config), "--output", str(output), *arguments]) == 0
        return capsys.readouterr().out, Encoder.load(output / "encoder.safetensors")

    return train


def test_printed_error_is_the_checkpoints(run, config):
    printed, encoder = run("run", "--seed=2")
    found = re.search(
        r"\n4 steps; kept step (\d), whose 3-way 2-shot error on the validation classes "
        r"is (\S+) %\n",
        printed,
    )
    assert int(found[1]) in (2, 4)
    validation = Glyphs(None, **config["dataset"]["init_args"]).splits().validation
    sampler = EpisodeSampler(validation, Setting(3, 2, 4), derive_seed(2, "validation"))
    errors = episode_errors(Prototypical(encoder), embed_bank(encoder, validation), sampler, 10)
    assert float(found[2]) == pytest.approx(float(errors.mean()), abs=0.006)
    assert encoder.out_dim == 6


def test_the_encoder_that_is_read_is_not_written_over(run, write, config, tmp_path, fails):
    _, first = run("run")
    file = tmp_path / "run" / "encoder.safetensors"
    again = "--encoder", str(file), "--output", str(tmp_path / "run")
    line = fails("train", write(config), *again, writes=True)
    assert "run holds the encoder that is read; name another" in line
    assert same(Encoder.load(file), first)


def same(one, other):
    return all(torch.equal(one.state_dict()[k], v) for k, v in other.state_dict().items())


def test_fresh_weights_are_the_seeds(run):
    _, first = run("a", "--seed=0")
    torch.manual_seed(5)
    assert same(first, run("b", "--seed=0")[1])
    assert not same(first, run("c", "--seed=1")[1])


def test_from_a_studys_encoder_with_a_projection(run, config, finished, tmp_path):
    (folder,) = (finished.folder / "cells").glob("encoder-guided-seed0-*")
    del config["backbone"], config["latent_dim"]
    config["encoder"] = str(folder / "encoder.safetensors")
    config["latents"] = "class"
    config["train"] |= {"freeze_encoder": True, "projection": 5}
    _, trained = run()
    start = Encoder.load(config["encoder"])
    assert same(trained.backbone, start.backbone)
    assert (trained.latents, trained.out_dim) == ("class", 5)
    facts = provenance(tmp_path / "run" / "encoder.safetensors")
    assert facts["config"]["train"]["projection"] == 5


def test_another_starting_point_is_another_training(run, config, encoder, tmp_path):
    """The same configuration and path, other weights in the file: nothing is resumed."""
    del config["backbone"], config["latent_dim"]
    config["encoder"] = str(tmp_path / "start.safetensors")
    encoder.save(tmp_path / "start.safetensors")
    _, first = run()
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    encoder.save(tmp_path / "start.safetensors")
    assert not same(first, run()[1])


def test_another_network_than_that_of_the_encoder_is_refused(run, fails, write, config, tmp_path):
    """Where it is the encoder's own, it may be named."""
    run("first")
    file = tmp_path / "first" / "encoder.safetensors"
    run("second", f"--encoder={file}")
    given = write(config), f"--encoder={file}"
    line = fails("train", *given, "--backbone.init_args.width=7")
    assert f"backbone: {file} has Conv4 (width 8, " in line
    line = fails("train", *given, "--latent_dim=7")
    assert f"latent_dim: {file} has 6; remove the key, or the encoder" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.freeze_encoder=true"], "train: nothing is left to train; set projection"),
        (["--train.learning_rate=1e30", "--train.log_every=1"], "loss: the loss is"),
        (["--train.setting.n_way=11"], "n_way: 11 classes asked for, the train set of glyphs has"),
        (["--train.validation.n_way=6"], "n_way: 6 classes asked for, the validation set of"),
        (["--learner=ANIL", "--learner.init_args.n_way=4"], "ANIL.n_way: made for 4-way episodes"),
    ],
)
def test_failures_are_one_line(fails, write, config, monkeypatch, arguments, message):
    if message.startswith("n_way"):
        monkeypatch.setattr(Glyphs, "splits", None)
    assert message in fails("train", write(config), *arguments, writes="loss" in message)


def test_a_learners_own_weights_go_on_to_evaluate(run, write, config, tmp_path, capsys, fails):
    config["learner"] = {"class_path": "MAML", "init_args": {"n_way": 3}}
    config["train"]["setting"]["n_way"] = 3
    run()
    evaluate = {
        "dataset": config["dataset"],
        "encoder": str(tmp_path / "run" / "encoder.safetensors"),
        "learners": {"maml": config["learner"]},
        "split": "validation",
        "settings": [config["train"]["validation"]],
        "episodes": 10,
    }
    assert "weights: learner 'maml' must be meta-trained first" in fails(
        "evaluate", write(evaluate, "bare.yaml")
    )
    evaluate["weights"] = {"maml": str(tmp_path / "run" / "learner.safetensors")}
    file = write(evaluate, "evaluate.yaml")
    assert main(["evaluate", file, "--output", str(tmp_path / "evaluated")]) == 0
    assert "3-way 2-shot: error" in capsys.readouterr().out
    evaluate["settings"] = [{"n_way": 4, "n_query": 2}]
    message = fails("evaluate", write(evaluate, "other.yaml"))
    assert "MAML.n_way: made for 3-way episodes, these are 4-way" in message
    evaluate["weights"] = {"other": evaluate["weights"]["maml"]}
    assert "no learner is called 'other'" in fails("evaluate", write(evaluate, "names.yaml"))
