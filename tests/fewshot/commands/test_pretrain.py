"""``fewshot pretrain``: from images to a checkpoint."""

import json
import re

import pytest
import torch
import yaml
from PIL import Image

import guided.training.pretrain
from fewshot.cli import main
from guided.encoder import Encoder, provenance

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def config(study):
    guidance = study["arms"]["guided"]["guidance"]
    return {"dataset": study["dataset"], "pretrain": study["pretrain"] | {"guidance": guidance}}


@pytest.fixture
def run(tmp_path, write, config):
    def pretrain(name, *arguments):
        return main(["pretrain", write(config), "--output", str(tmp_path / name), *arguments])

    return pretrain


def test_print_and_files_agree(run, tmp_path, capsys):
    assert run("run", "--seed=4") == 0
    printed = capsys.readouterr().out
    file = tmp_path / "run" / "encoder.safetensors"
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [entry["step"] for entry in results["history"]] == [2, 4, 6, 8]
    best = min(results["history"], key=lambda entry: entry["negative_elbo"])
    assert printed.startswith(
        f"8 steps; kept step {best['step']}, whose held-out negative ELBO is "
        f"{best['negative_elbo']:.2f} nats per image\n{file}: 1 × 16 × 16 images to 8 latents\n"
    )
    (entry,) = results["diagnostics"]
    assert entry["measure"] == "linear probe of class, error in percent"
    encoder = Encoder.load(file)
    assert encoder.layout.slices == {"class": (0, 4), "content": (4, 8)}
    assert encoder(torch.zeros(2, 1, 16, 16)).shape == (2, 8)
    assert provenance(file)["seed"] == 4
    assert provenance(file)["pretrain"]["guidance"][0]["class_path"] == "ExcitationInhibition"
    assert (tmp_path / "run" / "traversals.png").stat().st_size > 1000


def test_pictures_of_deformable_pca(run, config, tmp_path, capsys):
    """Eight latents, two of them deform; the figures' heights follow their rows."""
    config["pretrain"]["guidance"] = [
        {"class_path": "DeformablePCA", "init_args": {"deformations": ["scale", "rotation"]}}
    ]
    config["pretrain"] |= {"shuffle": False}
    assert run("run") == 0
    assert "correlation of a latent with an applied rotation" in capsys.readouterr().out
    heights = {}
    for path in (tmp_path / "run").glob("*.png"):
        with Image.open(path) as picture:
            heights[path.stem] = round((picture.height / 110 - 0.4) / 0.6)
    expected = {"traversals": 8, "traversals_light_decoder": 8, "traversals_basis": 6}
    assert expected.items() <= heights.items()
    assert heights.keys() > expected.keys() | {"samples", "reconstructions"}
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["pretrain"]["shuffle"] is False


def test_interrupted_and_started_again_it_ends_with_the_same_bits(
    run, tmp_path, capsys, monkeypatch
):
    assert run("whole") == 0
    check = guided.training.pretrain.check_finite
    with monkeypatch.context() as patch:

        def interrupt(terms, step, rate):
            if step > 4:
                raise KeyboardInterrupt
            check(terms, step, rate)

        patch.setattr(guided.training.pretrain, "check_finite", interrupt)
        assert run("run") == 130
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    assert len(list((tmp_path / "run").rglob("state-8.pt"))) == 1
    assert run("run") == 0
    capsys.readouterr()
    folders = [tmp_path / "whole", tmp_path / "run"]
    whole, resumed = (Encoder.load(f / "encoder.safetensors").state_dict() for f in folders)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    whole, resumed = (json.loads((f / "results.json").read_text())["history"] for f in folders)
    assert resumed == whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1e30, "log_every": 1}, r"the loss is .*lower learning_rate \(1e\+30\)"),
        ({"batch_size": 1000}, "batch_size: 1000 is more than the 80 training images"),
    ],
)
def test_failures_are_one_line(fails, write, config, settings, message):
    config["pretrain"] |= settings
    assert re.search(message, fails("pretrain", write(config), writes=True))
