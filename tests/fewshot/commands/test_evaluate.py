"""``fewshot evaluate``: its numbers, its files, its refusals."""

import json
import re

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from safetensors.torch import save_file

from fewshot.cli import main
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.episodes import Setting
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.seeds import derive_seed

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def config(study):
    """Of pixels, on the tiny study's dataset."""
    cosine = {"class_path": "Prototypical", "init_args": {"metric": "cosine"}}
    shapes = [(3, 1, 4), (4, 3, 2)]
    return {
        "dataset": study["dataset"],
        "learners": {"cosine": cosine, "nearest": {"class_path": "NearestNeighbour"}},
        "settings": [dict(zip(("n_way", "n_shot", "n_query"), s, strict=True)) for s in shapes],
        "episodes": 15,
    }


@pytest.fixture
def run(tmp_path, write, config, capsys):
    """Run the command; returns its print, its rows and its per-episode errors."""

    def evaluate(*arguments):
        output = tmp_path / "run"
        assert main(["evaluate", write(config), "--output", str(output), *arguments]) == 0
        with np.load(output / "episodes.npz") as stored:
            arrays = {key: stored[key] for key in stored}
        rows = json.loads((output / "results.json").read_text())["rows"]
        return capsys.readouterr().out, rows, arrays

    return evaluate


def test_print_rows_and_episodes_agree(run):
    printed, rows, arrays = run()
    assert len(rows) == len(arrays) == 4
    for row in rows:
        errors = arrays[f"{row['learner']}|{row['n_way']}w{row['n_shot']}s"]
        assert errors.shape == (15,)
        assert row["error"] == pytest.approx(errors.mean(), abs=1e-4)
        low, high = row["error_ci95_episodes"]
        interval = scipy.stats.ttest_1samp(errors.astype(float), 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx(interval, abs=1e-3)
        line = (
            f"{row['learner']}, {row['n_way']}-way {row['n_shot']}-shot: "
            f"error {row['error']:.2f} % ± {(high - low) / 2:.2f} (95 % over episodes)"
        )
        assert line in printed
        assert (row["split"], row["episodes"]) == ("test", 15)
    printed, rows, _ = run("--episodes", "1")
    assert rows[0]["error_ci95_episodes"] is None
    assert "±" not in printed


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_pixels_of_any_split_by_a_plain_loop(run, config, split):
    _, _, arrays = run("--split", split, "--seed", "3")
    bank = getattr(Glyphs(None, **config["dataset"]["init_args"]).splits(), split)
    sampler = EpisodeSampler(bank, Setting(3, 1, 4), derive_seed(3, "test", "3w1s"))
    model = Prototypical(Encoder(Pixels(bank.image_shape), None), metric="cosine")
    for i, error in enumerate(arrays["cosine|3w1s"]):
        predicted = model.logits(sampler[i].gather(bank.images))[0].argmax(1)
        wrong = predicted != torch.arange(3).repeat_interleave(4)
        assert error == pytest.approx(100 * float(wrong.float().mean()))


@pytest.mark.parametrize("latents", ["all", "class"])
def test_an_encoder_of_a_study_has_the_errors_of_the_study(finished, run, latents):
    (folder,) = (finished.folder / "cells").glob("encoder-guided-seed1-*")
    encoder = ("--encoder", str(folder / "encoder.safetensors"), "--latents", latents)
    _, _, arrays = run(*encoder, "--episodes=20", "--learners", "{p: {class_path: Prototypical}}")
    wrong = finished.wrong[f"guided|prototypical|{latents}|3w1s"][1]
    assert arrays["p|3w1s"] == pytest.approx(100.0 * wrong / 12)


def test_images_of_ones_own(run, fails, write, config, tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"train/a": 6, "val/b": 6, "test/c": 6, "test/d": 6, "test/few": 3, "test/e": 6}
    for name, n in sizes.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    images = {"path": str(tmp_path / "images"), "size": 16}
    config["dataset"] = {"class_path": "ImageFolder", "init_args": images}
    line = fails("evaluate", write(config), writes=True)
    assert "class 'few' has 3 images; n_shot + n_query needs 5" in line
    config["settings"] = [{"n_way": 3, "n_shot": 1, "n_query": 2}]
    _, rows, _ = run("--episodes", "40")
    # Noise has no classes: chance is two thirds.
    assert rows[0]["error"] == pytest.approx(200 / 3, abs=12)


def test_a_split_is_enough_or_two_classes(run, fails, write, config, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("some/val/a", "some/val/b", "some/val/c", "two/dark", "two/light"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 100, (16, 16), np.uint8) + np.uint8(150 * (name[-1] == "t"))
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    images = {"path": str(tmp_path / "some"), "size": 16}
    config["dataset"] = {"class_path": "ImageFolder", "init_args": images}
    config["settings"] = [{"n_way": 3, "n_shot": 1, "n_query": 2}]
    message = fails("evaluate", write(config))
    assert "ImageFolder: no test classes, which this command needs (found 0 train, 3 val" in message
    assert f"put class folders into {images['path']}/test/" in message
    _, rows, _ = run("--split", "validation")
    assert {row["split"] for row in rows} == {"validation"}
    images["path"] = str(tmp_path / "two")
    config["settings"] = [{"n_way": 2, "n_shot": 1, "n_query": 2}]
    config["learners"] = {"nearest": {"class_path": "NearestNeighbour"}}
    hint = "2 classes asked for, the test split has 1; choose a smaller n_way, or split: all (2 cl"
    assert hint in fails("evaluate", write(config))
    _, rows, _ = run("--split", "all")
    assert [(row["split"], row["error"]) for row in rows] == [("all", 0.0)]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "encoder.safetensors"
    Encoder(Pixels((1, 16, 16)), None).save(path)
    return path


def test_a_damaged_checkpoint(fails, write, config, checkpoint):
    whole = checkpoint.read_bytes()
    metadata = {"format": "guided-fewshot encoder 1", "encoder": "{", "provenance": ""}
    for damage in (
        lambda path: path.write_bytes(whole[: len(whole) // 2]),
        lambda path: path.write_text("<!DOCTYPE html><html>404</html>" * 20),
        lambda path: save_file({"weight": torch.zeros(2)}, path),
        lambda path: save_file({}, path, metadata=metadata),
    ):
        damage(checkpoint)
        line = fails("evaluate", write(config), "--encoder", str(checkpoint))
        assert re.search(r"encoder\.safetensors: (damaged|is not an) encoder checkpoint", line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes=0"], "episodes: expected at least 1, got 0"),
        (["--learners={}"], "learners: at least one is needed"),
        (["--settings=[]"], "settings: at least one is needed"),
        (["--split=tests"], "split: expected one of"),
        (
            ["--learners={x: {class_path: Ridge, init_args: {penalty: 0}}}"],
            "learners.x.init_args.penalty: expected > 0, got 0",
        ),
        (["--settings=[{n_way: 6}]"], "n_way: 6 classes asked for, the test set of glyphs has 5"),
        (["--encoder=nowhere.safetensors"], "nowhere.safetensors: no such encoder checkpoint"),
        (["--encoder={file}", "--latents=content"], "latents: 'content', but this encoder has"),
        (["--output", "{file}/run"], "encoder.safetensors/run cannot be created (Not a directory)"),
    ],
)
def test_impossible_settings_before_anything_is_read(
    fails, write, config, checkpoint, monkeypatch, arguments, message
):
    if not message.endswith("(Not a directory)"):
        monkeypatch.setattr(Glyphs, "splits", None)
    arguments = [argument.replace("{file}", str(checkpoint)) for argument in arguments]
    assert message in fails("evaluate", write(config), *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed=-1"], "seed: expected at least 0, got -1"),
        (["--dataset.init_args.size=12", "--encoder"], "shape (1, 12, 12) given to an encoder"),
    ],
)
def test_settings_that_only_their_user_finds_impossible(
    fails, write, config, checkpoint, arguments, message
):
    if arguments[-1] == "--encoder":
        arguments = [*arguments, str(checkpoint)]
    assert message in fails("evaluate", write(config), *arguments, writes=True)
