"""``fewshot pretrain``: from images to a checkpoint."""

import json

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
    assert [entry["measure"] for entry in results["diagnostics"]] == [
        "linear probe of class, error in percent"
    ]
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
    assert heights == {
        "traversals": 8,
        "traversals_light_decoder": 8,
        "traversals_basis": 6,
        "principal_components": 1,
        "samples": 10,
        "reconstructions": 2,
    }
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
    whole, resumed = (
        Encoder.load(tmp_path / name / "encoder.safetensors").state_dict()
        for name in ("whole", "run")
    )
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    histories = [
        json.loads((tmp_path / name / "results.json").read_text())["history"]
        for name in ("whole", "run")
    ]
    assert histories[0] == histories[1]


def test_a_loss_that_explodes_is_one_line(fails, write, config):
    config["pretrain"] |= {"learning_rate": 1e30, "log_every": 1}
    line = fails("pretrain", write(config), writes=True)
    assert "the loss is" in line
    assert "lower learning_rate (1e+30)" in line


def test_a_batch_larger_than_the_training_set(fails, write, config):
    config["pretrain"]["batch_size"] = 1000
    line = fails("pretrain", write(config), writes=True)
    assert "batch_size: 1000 is more than the 80 training images" in line
