"""``fewshot pretrain``: from images to a checkpoint."""

import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import guided.training.pretrain
from fewshot.cli import main
from fewshot.study.encoder_facts import EncoderFacts, cautions
from guided.encoder import Encoder, digest, provenance

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
    assert printed.partition("loading torch …\n")[2].startswith(
        f"8 steps; kept step {best['step']}, whose held-out negative ELBO is "
        f"{best['negative_elbo']:.2f} nats per image\n{file}: 1 × 16 × 16 images to 8 latents\n"
    )
    (entry,) = results["diagnostics"]
    assert entry["measure"] == "linear probe of class, error in percent"
    encoder = Encoder.load(file)
    assert encoder.layout.slices == {"class": (0, 4), "content": (4, 8)}
    assert encoder(torch.zeros(2, 1, 16, 16)).shape == (2, 8)
    assert provenance(file)["seed"] == 4
    assert provenance(file)["pretrain"]["guidance"][0]["class_path"].endswith(
        ".ExcitationInhibition"
    )
    assert (tmp_path / "run" / "traversals.png").stat().st_size > 1000


def test_classes_for_testing_are_not_needed(run, config, fails, write, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("train/a", "train/b", "val/c", "val/d"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    images = {"path": str(tmp_path / "own"), "size": 16}
    config["dataset"] = {"class_path": "ImageFolder", "init_args": images}
    config["pretrain"]["batch_size"] = 8
    assert run("run") == 0
    assert "measurement on validation" in capsys.readouterr().out
    assert (tmp_path / "run" / "traversals.png").exists()
    shutil.rmtree(tmp_path / "own" / "val")
    assert "ImageFolder: no validation classes" in fails("pretrain", write(config))


def test_causal_mechanisms_are_examined(run, config, tmp_path, capsys):
    own = {"factors": {"scale": [], "thickness": ["scale"]}}
    config["pretrain"] |= {"guidance": [{"class_path": "CausalMechanisms", "init_args": own}]}
    config["dataset"]["init_args"]["causal"] = True
    assert run("run") == 0
    assert "do(scale): error of thickness" in capsys.readouterr().out
    assert (tmp_path / "run" / "counterfactuals.png").exists()


def test_an_autoencoder_is_judged_by_its_reconstructions_and_draws_no_samples(
    run, tmp_path, capsys
):
    assert run("run", "--pretrain.autoencoder=true", "--pretrain.steps=2") == 0
    (entry,) = json.loads((tmp_path / "run" / "results.json").read_text())["history"]
    error = f"{entry['reconstruction']:.2f} nats per image"
    assert f"whose held-out reconstruction error is {error}" in capsys.readouterr().out
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert "reconstructions.png" in pictures and "samples.png" not in pictures


def test_pictures_of_deformable_pca(run, config, tmp_path, capsys):
    """Eight latents, two of them deform; the figures' heights follow their rows."""
    deform = {"class_path": "DeformablePCA", "init_args": {"deformations": ["scale", "rotation"]}}
    config["pretrain"] |= {"guidance": [deform], "shuffle": False}
    assert run("run") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^measurement .* encoder +target latents +other latents$", printed, re.M)
    assert "correlation of a latent with" in printed
    assert re.search(r"^  across images +0\.\d+$", printed, re.M)
    (facts,) = json.loads((tmp_path / "run" / "results.json").read_text())["encoders"]
    (line,) = cautions([EncoderFacts.from_json(facts)])
    assert line.startswith("Basis not converged: DeformablePCA (seed 0)")
    assert f"warning: {line}" in " ".join(printed.split())
    assert len(facts["kl"]) == 8 and facts["basis"]
    assert max(len(line) for line in printed.splitlines()[-12:] if str(tmp_path) not in line) <= 80
    heights = {}
    for path in (tmp_path / "run").glob("*.png"):
        with Image.open(path) as picture:
            heights[path.stem] = picture.height
    assert heights.keys() > {"traversals_light_decoder", "samples", "reconstructions"}
    assert heights["traversals"] > heights["traversals_basis"] > heights["principal_components"]
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


# Attributes: bins of factors, drawers within alphabets, faces.


def test_results_stay_where_the_next_command_needs_them_or_is_refused(run, write, config, tmp_path):
    run("run")
    folder = tmp_path / "run"
    config["pretrain"]["batch_size"] = 10_000
    assert main(["pretrain", write(config), "--output", str(folder)]) == 2
    assert not (folder / "superseded").exists()
    test = {"dataset": config["dataset"], "settings": [{"n_way": 3, "n_query": 2}], "episodes": 2}
    file = str(folder / "encoder.safetensors")
    for _ in range(2):
        command = ["evaluate", write(test), "--encoder", file, "--output", str(folder)]
        assert main(command) == 0


@pytest.fixture
def pretrained(tmp_path, write, study):
    """Run the command for a dataset and attributes; returns its folder and its results."""

    def run(dataset, attributes, beside=False, **settings):
        guidance = {"class_path": "ExcitationInhibition", "init_args": {"attributes": attributes}}
        pretrain = study["pretrain"] | {"steps": 4} | settings
        pretrain["guidance"] = [guidance] if attributes else []
        folder = tmp_path / "run"
        config = write({"dataset": dataset, "pretrain": pretrain, "beside_unguided": beside})
        root = ["--data_root", str(tmp_path / "data")]
        assert main(["pretrain", config, "--output", str(folder), *root]) == 0
        return folder, json.loads((folder / "results.json").read_text())

    return run


def test_attributes_within_others_and_bins_of_factors(pretrained, study):
    # The test alphabets are others than those that were learned.
    names = ["alphabet", "drawer within alphabet"]
    glyphs = {
        "class_path": "Glyphs",
        "init_args": study["dataset"]["init_args"] | {"test_alphabets": 2},
    }
    _, results = pretrained(glyphs, dict.fromkeys(names, 2))
    measured = [entry["measure"] for entry in results["diagnostics"]]
    assert measured == [f"linear probe of {name}, error in percent" for name in names]
    study["dataset"]["init_args"] |= {"split": "drawers", "factor_bins": 2}
    folder, results = pretrained(study["dataset"], {"scale": 1, "slant": 1})
    slices = Encoder.load(folder / "encoder.safetensors").layout.slices
    assert slices == {"scale": (0, 1), "slant": (1, 2), "content": (2, 8)}
    measures = {entry["measure"]: entry for entry in results["diagnostics"]}
    correlation = "rank correlation of a latent with the factor"
    names = {f"{correlation} slant", f"{correlation} scale"}
    names |= {f"linear probe of {name}, error in percent" for name in ("slant", "scale")}
    names.add("correlation of a latent with an applied scale")
    assert set(measures) == names
    assert measures[f"{correlation} slant"]["latents"] == [1, 2]
    with Image.open(folder / "attribute_traversals.png") as figure:
        assert figure.height > 6 * 30


def test_a_vae_without_guidance_is_measured_at_the_same_latents(pretrained, study, tmp_path):
    study["dataset"]["init_args"] |= {"factor_bins": 2}
    folder, alone = pretrained(study["dataset"], {"scale": 1, "slant": 2}, steps=6)
    first = digest(Encoder.load(folder / "encoder.safetensors"))
    _, beside = pretrained(study["dataset"], {"scale": 1, "slant": 2}, steps=6, beside=True)
    assert digest(Encoder.load(folder / "encoder.safetensors")) == first
    shown = {path.parent for path in folder.glob("*/**/events.out.tfevents*")}
    assert {folder / "seed0", folder / "unguided" / "seed0"} <= shown, "both are in TensorBoard"
    guided, plain = (
        [{**e, "arm": None} for e in beside["diagnostics"] if e["arm"] == arm]
        for arm in ("ExcitationInhibition", "unguided")
    )
    assert guided == [{**e, "arm": None} for e in alone["diagnostics"]]
    at = [(entry["measure"], entry.get("latents")) for entry in guided]
    assert [(entry["measure"], entry.get("latents")) for entry in plain] == at
    assert plain != guided
    # Without guidance there is nothing to set beside.
    assert pretrained(study["dataset"], None, beside=True)[1]["diagnostics"] == []


def test_faces(pretrained, tmp_path):
    folder = tmp_path / "data" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    smiling = rng.choice([-1, 1], 60)
    identities, partitions, attributes = [], [], ["60", "Smiling"]
    for i, smile in enumerate(smiling):
        name, buffer = f"{i + 1:06}.jpg", io.BytesIO()
        pixels = rng.integers(0, 128, (218, 178, 3)) + 60 * (smile + 1)
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "jpeg")
        (folder / name).write_bytes(buffer.getvalue())
        identities.append(f"{name} {i // 5}")
        partitions.append(f"{name} {i // 20}")
        attributes.append(f"{name} {smile}")
    lists = {"identity_CelebA": identities, "list_eval_partition": partitions}
    for name, lines in (lists | {"list_attr_celeba": attributes}).items():
        (folder.parent / f"{name}.txt").write_text("\n".join(lines) + "\n")
    dataset = {"class_path": "CelebA", "init_args": {"size": 16}}
    run, results = pretrained(
        dataset, {"Smiling": 1}, likelihood={"class_path": "Gaussian"}, batch_size=16
    )
    assert tuple(Encoder.load(run / "encoder.safetensors").input_shape) == (3, 16, 16)
    (entry,) = results["diagnostics"]
    assert entry["measure"] == "linear probe of Smiling, error in percent"
    assert (run / "attribute_traversals.png").exists()
