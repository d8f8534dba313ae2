"""What is plainly wrong is refused, or said in the terminal and in the report."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.cli import main
from fewshot.evaluation import evaluate
from fewshot.learners.prototypical import Prototypical
from guided.encoder import Encoder
from guided.errors import InputError
from guided.metrics.held_out import HeldOut

pytestmark = pytest.mark.usefixtures("cache")

CHANCE = "every episode has exactly the error of chance"


@pytest.fixture
def filled(encoder, tmp_path):
    """An encoder's file whose latents are all one number; returns its path."""

    def file(value):
        made = Encoder(encoder.backbone, encoder.layout)
        with torch.no_grad():
            # Weights themselves are finite in every file.
            made.latent_head.weight.fill_(3e38 if value == math.inf else 0)
            made.latent_head.bias.fill_(min(value, 3e38))
        made.save(tmp_path / f"{value}.safetensors")
        return str(tmp_path / f"{value}.safetensors")

    return file


@pytest.fixture
def own_images(tmp_path):
    """Noise in class folders, of which one image is blank, and one in two splits and formats."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for name in ("train/a", "val/b", "val/c", "test/d", "test/e"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    Image.new("L", (16, 16), 90).save(folder / "test" / "d" / "1.png")
    Image.open(folder / "train" / "a" / "0.png").save(folder / "test" / "e" / "9.bmp")
    return {"class_path": "ImageFolder", "init_args": {"path": str(folder), "size": 16}}


def of_checkpoints(study, dataset, **files):
    arms = {name: {"encoder": "checkpoint", "checkpoint": file} for name, file in files.items()}
    shape = {"n_way": 2, "n_shot": 1, "n_query": 2}
    return study | {
        "dataset": dataset,
        "arms": {"vae": {"encoder": "pixels"}, **arms},
        "settings": [shape],
        "seeds": [0],
    }


def test_doubts_stand_in_the_terminal_and_in_the_report(
    study, own_images, filled, write, tmp_path, capsys
):
    config, output = of_checkpoints(study, own_images, zeros=filled(0.0)), tmp_path / "run"
    doubts = [
        "Blank, of one colour alone: 1 of 9 test images; the first is image 1 of class 'd'.",
        "1 image is in two splits with the same pixels: ",
        f"zeros (prototypical, 2-way 1-shot): {CHANCE}",
    ]
    for name in ("first", "second"):
        assert main(["compare", write(config | {"study": name}), "--output", str(output)]) == 0
        printed = capsys.readouterr()
        shown = " ".join(printed.out.split())
        result = json.loads((output / "results.json").read_text())
        page = (output / "report.html").read_text().replace("&#39;", "'")
        for doubt in doubts:
            assert doubt in shown
            assert sum(doubt in line for line in result["warnings"]) == 1
            assert doubt in page
        assert "train/a/0.png (train) and test/e/9.bmp (test)" in printed.err
        if name == "first":
            assert "two studies" not in shown
        else:
            assert f"warning: two studies have the output {output}; give each its own" in shown
        doubts.append(f"{output} is the output of other studies too, whose results are in")


def test_embeddings_that_are_no_numbers_are_refused(study, filled, write, fails, tmp_path):
    """Also where nothing but a diagnosis or a choice reads them."""
    config = of_checkpoints(study, study["dataset"], broken=filled(math.inf))
    what = "the embeddings of 40 of 40 images are not finite (NaN or infinite), the first that of"
    said = fails("compare", write(config), writes=True)
    assert f"arm broken, seed 0, test classes: {what} image 0 of class '" in said
    config["learners"] = {"ridge": {"learner": "Ridge", "choose": {"penalty": [1, 10]}}}
    said = fails("compare", write(config), "--output", str(tmp_path / "another"), writes=True)
    assert f"arm broken, seed 0, validation classes: {what} image 0 of class '" in said
    broken = config["arms"]["broken"]["checkpoint"]
    test = {key: config[key] for key in ("dataset", "settings", "episodes")}
    said = fails("evaluate", write(test), "--encoder", broken, writes=True)
    assert f"{broken}, test classes: {what} image 0 of class '" in said
    held_out = HeldOut(Encoder.load(broken), torch.zeros(5, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"of 5 of 5 images are not finite .* image 0;"):
        held_out.latents  # noqa: B018


def test_answers_that_are_no_numbers_are_refused(pixels, bank):
    """Of a learner that reads images, or whose own weights are broken."""
    learner = Prototypical(pixels, learn_temperature=True)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="Prototypical: answers are not numbers"):
        evaluate(learner, bank, episodes=3)


def test_an_evaluation_at_chance_says_so(own_images, filled, write, tmp_path, capsys):
    shape = {"n_way": 2, "n_shot": 1, "n_query": 2}
    config = {"dataset": own_images, "settings": [shape], "episodes": 30}
    arguments = ["evaluate", write(config), "--output", str(tmp_path / "run")]
    assert main([*arguments, "--encoder", filled(2.0)]) == 0
    printed = capsys.readouterr().out
    assert f"warning: prototypical, 2w1s: {CHANCE}" in printed
    assert "warning: Blank, of one colour alone: 1 of 9 test images" in printed
