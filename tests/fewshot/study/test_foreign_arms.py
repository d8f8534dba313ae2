"""Networks from elsewhere and given embeddings as arms of a study."""

import json
import sys

import numpy as np
import pytest
import torch

import fewshot
from fewshot.cli import main
from fewshot.config import load
from fewshot.data import Glyphs
from fewshot.study.config import StudyConfig
from fewshot.study.run import Study
from guided.encoder import Encoder
from guided.seeds import seeded_initialisation

pytestmark = pytest.mark.usefixtures("cache")

MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, 10)

    def forward(self, images):
        return self.fc(self.body(images).amax((2, 3)))
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A module of one's own, in the working directory."""
    (tmp_path / "study_net.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import study_net

    yield study_net.Net
    sys.modules.pop("study_net")


def weights(net, path, seed):
    """A network of some weights, and its state dict in a file."""
    with seeded_initialisation(seed, "test"):
        network = net()
    torch.save(network.state_dict(), path)
    return network.eval()


def foreign(path, size=24):
    settings = {"network": "study_net.Net", "weights": str(path), "channels": 3, "size": size}
    settings |= {"mean": [0.4, 0.5, 0.6], "std": [0.25]}
    return {"encoder": {"class_path": "Imported", "init_args": settings}}


@pytest.fixture
def config(study, net, tmp_path):
    """Pixels and a network from elsewhere, one file a seed."""
    study["arms"] = {"pixels": {"encoder": "pixels"}, "net": foreign(tmp_path / "{seed}.pth")}
    study |= {"baseline": "pixels", "episodes": 6, "selection_episodes": 2}
    return study


def planned(config, tmp_path):
    """Cells of the arm ``net`` by part and seed."""
    loaded = load(StudyConfig, config)
    splits = loaded.dataset(None).splits()
    study = Study(loaded, splits, tmp_path / "plan")
    outcome = study.plan()
    return {seed: outcome.encoders["net", seed].digest for seed in loaded.seeds}


def test_a_network_from_elsewhere_beside_the_others(config, net, write, tmp_path):
    """Each seed has the features of its own file, as computed by the network alone."""
    networks = [weights(net, tmp_path / f"{seed}.pth", seed) for seed in (0, 1)]
    output = tmp_path / "run"
    assert main(["compare", write(config), "--output", str(output)]) == 0
    rows = json.loads((output / "results.json").read_text())["rows"]
    kinds = {row["arm"]: (row["encoder"], len(row["pairs"])) for row in rows}
    assert kinds == {"pixels": ("pixels", 0), "net": ("imported", 1)}
    images = load(StudyConfig, config).dataset(None).splits().test.images[:3]
    large = torch.nn.functional.interpolate(
        images.float() / 255, (24, 24), mode="bilinear", antialias=True
    )
    for seed, network in enumerate(networks):
        mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
        (file,) = output.glob(f"cells/encoder-net-seed{seed}-*/encoder.safetensors")
        with torch.no_grad():
            expected = network.body((large - mean) / 0.25).amax((2, 3))
            found = Encoder.load(file)(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_and_settings_are_in_the_digest_and_their_place_is_not(config, net, tmp_path):
    for seed in (0, 1):
        weights(net, tmp_path / f"{seed}.pth", seed)
    first = planned(config, tmp_path)
    assert first[0] != first[1]
    (tmp_path / "moved").mkdir()
    for seed in (0, 1):
        (tmp_path / f"{seed}.pth").rename(tmp_path / "moved" / f"{seed}.pth")
    config["arms"]["net"] = foreign(tmp_path / "moved" / "{seed}.pth")
    assert planned(config, tmp_path) == first
    weights(net, tmp_path / "moved" / "1.pth", 7)
    again = planned(config, tmp_path)
    assert again[0] == first[0] and again[1] != first[1]
    config["arms"]["net"] = foreign(tmp_path / "moved" / "{seed}.pth", size=20)
    assert planned(config, tmp_path)[0] != first[0]
    config["arms"]["net"] = foreign(tmp_path / "moved" / "{seed}.pth")
    with (tmp_path / "study_net.py").open("a") as file:
        file.write("# another file\n")
    assert planned(config, tmp_path)[0] != first[0]


@pytest.fixture
def embedded(encoder, tmp_path, study):
    """The embeddings of an encoder's, written out; the encoder's file."""
    init = study["dataset"]["init_args"]
    splits = Glyphs(None, **init).splits()
    encoder.save(tmp_path / "encoder.safetensors")
    fewshot.write_embeddings(tmp_path / "written.npz", encoder, splits)
    return tmp_path / "written.npz", tmp_path / "encoder.safetensors"


def test_embeddings_written_out_have_the_errors_of_their_encoder(study, write, tmp_path, embedded):
    """In a study with several learners, one of which chooses: equal counts in every episode."""
    file, checkpoint = embedded
    study["learners"] = {
        "prototypical": {"learner": "Prototypical"},
        "ridge": {"learner": "Ridge", "choose": {"penalty": [0.1, 10]}},
    }
    study["arms"] = {"arm": {"encoder": "checkpoint", "checkpoint": str(checkpoint)}}
    study |= {"baseline": None, "episodes": 8, "selection_episodes": 3}
    given = study | {
        "dataset": {"class_path": "Embeddings", "init_args": {"path": str(file)}},
        "arms": {"arm": {"encoder": "embeddings"}},
    }
    found = []
    for name, config in (("images", study), ("given", given)):
        output = tmp_path / name
        assert main(["compare", write(config, f"{name}.yaml"), "--output", str(output)]) == 0
        with np.load(output / "episodes.npz") as stored:
            found.append({key: stored[key].tolist() for key in stored})
        assert (output / "report.html").exists()
    assert found[0] == found[1]
    assert any(max(max(row) for row in v) > 0 for k, v in found[0].items() if "wrong" in k)


@pytest.mark.parametrize(
    ("arm", "learner", "message"),
    [
        ({}, {}, "arms.arm.encoder: pretrained needs images, and the dataset has embeddings"),
        ({"encoder": "pixels"}, {}, "arms.arm.encoder: pixels needs images"),
        (
            {"encoder": "embeddings", "latents": ["dino"]},
            {},
            "latents: 'dino', but this encoder has none",
        ),
        ({"encoder": "embeddings"}, {"learner": "DeformationMatching"}, "looks at images, and"),
        (
            {"encoder": "embeddings"},
            {"test_augmentation": {"rotation": 5}},
            "learners.one.test_augmentation: needs images",
        ),
        (foreign("random"), {}, "Imported.channels: expected 8"),
    ],
)
def test_what_needs_images_is_refused(study, write, fails, net, embedded, arm, learner, message):
    study["dataset"] = {"class_path": "Embeddings", "init_args": {"path": str(embedded[0])}}
    study["arms"] = {"arm": arm}
    study["learners"] = {"one": {"learner": "Prototypical"} | learner}
    study["baseline"] = None
    assert message in fails("compare", write(study))


def test_embeddings_of_images_are_refused(study, write, fails):
    study["arms"]["pixels"]["encoder"] = "embeddings"
    assert "arms.pixels.encoder: embeddings are those of an" in fails("compare", write(study))
