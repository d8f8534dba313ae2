"""Arms whose encoder has a training of its own, in a file outside the package."""

import importlib
import json
import re
import sys

import numpy as np
import pytest
import torch

from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.data import Glyphs, data_root
from fewshot.data.labels import labelled_classes
from fewshot.study import StudyResult
from fewshot.study.counts import Counts
from fewshot.study.run import Study
from guided.encoder import Encoder

pytestmark = pytest.mark.usefixtures("cache")

OWN = '''
"""Distances to one mean image a class, scaled by what is best on the validation classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from guided import Backbone, Encoder, EncoderTraining, InputError
from guided.training import RunLog


class Distances(Backbone):
    def __init__(self, input_shape, *, classes):
        super().__init__(input_shape, classes=classes)
        self.feature_dim = classes
        self.register_buffer("means", torch.zeros(classes, *input_shape).flatten(1))

    def forward(self, images):
        return torch.cdist(images.flatten(1), self.means)

    def decoder(self, latent_dim):
        raise InputError("Distances: has no decoder")


@dataclass(frozen=True)
class ClassMeans(EncoderTraining):
    """Args: blur: share of the mean of all images."""

    blur: float = 0.0
    fixed: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    labels = ("class",)

    def __post_init__(self):
        if not 0 <= self.blur < 1:
            raise InputError(f"blur: expected a share below 1, got {self.blur}")

    def build(self, images):
        classes = images.categories()["class"]
        return Encoder(Distances(tuple(images.images.shape[1:]), classes=classes), None)

    def train(self, encoder, images, validation, context):
        labels, pixels = images.labels["class"], encoder.normalised(images.images).flatten(1)
        means = [pixels[labels == i].mean(0) for i in range(len(encoder.backbone.means))]
        means = torch.stack(means) * (1 - self.blur) + self.blur * pixels.mean(0)
        encoder.backbone.means.copy_(means)
        entry = {"step": 1, "known": float((labels >= 0).sum())}
        if context.score:
            entry["score"] = context.score(encoder)
        with RunLog(context.log_folder) as log:
            log.scalars("validation", entry, 1)
        (context.picture_folder / "seen.txt").parent.mkdir(parents=True, exist_ok=True)
        (context.picture_folder / "seen.txt").write_text(context.description)
        return [entry]
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes own_training.py, which is imported anew."""

    def write(text=OWN):
        (tmp_path / "own_training.py").write_text(text)
        sys.modules.pop("own_training", None)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write()
    yield write
    sys.modules.pop("own_training", None)


def means(**settings):
    training = {"class_path": "own_training.ClassMeans", "init_args": settings}
    return {"encoder": "trained", "training": training}


@pytest.fixture
def compare(study, write, tmp_path):
    """Run a study of these arms; returns its cells' folders by arm and seed."""
    study |= {"imports": ["own_training"], "baseline": None}

    def run(arms, **changes):
        folder = tmp_path / "run"
        arguments = [write(study | changes | {"arms": arms}), "--output", str(folder)]
        assert main(["compare", *arguments]) == 0
        return {path.name: path for path in folder.glob("cells/encoder-*")}

    return run


def test_a_training_of_ones_own_is_an_arm(own, compare, study, tmp_path, capsys, fails):
    """Labels of the drawn classes alone; its score, log, picture and file; select and replay."""
    arms = {"means": means(), "half": means() | {"labelled": 0.5}, "pixels": {"encoder": "pixels"}}
    train = {"setting": {"n_way": 3, "n_query": 2}, "validation": {"n_way": 3, "n_query": 2}}
    prototypical = {"class_path": "Prototypical"}
    study["learners"]["trained"] = {"learner": prototypical, "train": train | {"steps": 1}}
    cells = compare(arms)
    printed = capsys.readouterr()
    assert "half, seed 1: trained by ClassMeans" in printed.out + printed.err
    run = tmp_path / "run"
    rows = StudyResult.load(run).rows
    assert {(row.arm, row.encoder) for row in rows} == {
        ("means", "trained"),
        ("half", "trained"),
        ("pixels", "pixels"),
    }
    assert not any(row.meta_trained for row in rows), "there is nothing to train"
    wrong = {
        "|".join(key): counts for key, counts in Counts.load(run / "episodes.npz").wrong.items()
    }
    a, b = (wrong[f"means|{learner}|all|3w1s"] for learner in ("prototypical", "trained"))
    assert np.array_equal(a, b)
    seen = set()
    for name, folder in cells.items():
        facts = json.loads((folder / "cell.json").read_text())
        if facts["depends"]["encoder"] == "pixels":
            continue
        arm, seed = name.split("-")[1], facts["depends"]["seed"]
        encoder = Encoder.load(folder / "encoder.safetensors")
        assert facts["depends"]["training"]["source"]
        assert (
            facts["depends"]["selection"]["learner"]["class_path"]
            == "fewshot.learners.Prototypical"
        )
        (entry,) = facts["history"]
        # Two alphabets of five characters by eight drawers.
        assert (encoder.out_dim, entry["known"]) == ((10, 80) if arm == "means" else (5, 40))
        assert 0 < entry["score"] < 100
        assert (folder / "seen.txt").read_text() == f"train {arm}, seed {seed}"
        assert list((run / arm / f"seed{seed}").glob("events*"))
        seen.add((arm, seed, facts["depends"].get("labelled")))
    assert seen == {
        (arm, s, share) for arm, share in (("means", None), ("half", 0.5)) for s in (0, 1)
    }
    assert (run / "learning_curves.png").exists()
    assert not (run / "budgets.png").exists()
    # The class means are those of the classes that are drawn.
    train = Glyphs(data_root(None), **study["dataset"]["init_args"]).splits().train
    (half,) = run.glob("cells/encoder-half-seed1-*/encoder.safetensors")
    drawn = labelled_classes(train, 0.5, 1)
    expected = [train.images[train.labels == i].float().mean(0).flatten() / 255 for i in drawn]
    torch.testing.assert_close(Encoder.load(half).backbone.means, torch.stack(expected))
    row = next(str(i) for i, row in enumerate(rows) if row.arm == "half")
    assert main(["evaluate", "--replay", str(run / "results.json"), "--row", row]) == 0
    assert "the same in all 40 episodes" in capsys.readouterr().out
    assert "no pretrained encoder to choose" in fails("select", str(run), writes=True)


def test_a_cell_depends_on_settings_and_code(own, study, write, tmp_path):
    study |= {"imports": ["own_training"], "baseline": None}

    def digest(**settings):
        values = study | {"arms": {"means": means(**settings)}}
        config = load(CompareConfig, values)
        planned = Study(config, config.dataset(data_root(None)).splits(), tmp_path).plan(
            tests=False
        )
        return planned.encoders["means", 0].digest

    first = digest()
    assert digest(blur=0) == first != digest(blur=0.5)
    own(OWN + "\n# edited\n")
    assert digest() != first


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"encoder": "trained"}, "arms.mine.training: missing; name its class, e.g. PixelPCA"),
        (means() | {"encoder": "random"}, "training: a random encoder has none; set encoder to tr"),
        (means() | {"encoder": "pretrained"}, "training: a pretrained encoder has none"),
        (means() | {"guidance": ["DeformablePCA"]}, "guidance: a trained encoder cannot be guided"),
        (means() | {"steps": 3}, "steps: a trained encoder is trained as its training says"),
        (means() | {"backbone": "Conv4"}, "backbone: a trained encoder is trained as its"),
        (means(blur=2), "arms.mine.training.init_args.blur: expected a share below 1, got 2"),
        (means() | {"latents": ["class"]}, "latents: 'class', but this encoder has none"),
        ({"encoder": "trained", "training": "Conv4"}, "training: no class is called 'Conv4'"),
    ],
)
def test_settings_that_cannot_be_right(own, study, write, fails, arm, message):
    study |= {"imports": ["own_training"], "arms": {"mine": arm}, "baseline": None}
    assert message in fails("compare", write(study), writes="latents" in arm)


def test_an_autoencoder_is_an_arm_and_may_be_guided(study, write, tmp_path, capsys, fails):
    """And no candidate for a selection among VAEs."""
    guidance = study["arms"]["guided"]["guidance"]
    pca = {"class_path": "PixelPCA", "init_args": {"components": 8}}
    study["arms"] = {
        "vae": {},
        "autoencoder": {"autoencoder": True},
        "both": {"autoencoder": True, "guidance": guidance, "baseline": ["vae", "autoencoder"]},
        "pca": {"encoder": "trained", "training": pca},
    }
    study |= {"seeds": [0], "select_by": "negative_elbo"}
    run = tmp_path / "run"
    assert main(["compare", write(study), "--output", str(run)]) == 0
    printed = capsys.readouterr()
    said = r"autoencoder, seed 0: 8 steps, kept step \d \(reconstruction "
    assert re.search(said, printed.out + printed.err)
    rows = {row.arm: row for row in StudyResult.load(run).rows}
    assert [pair.question for pair in rows["both"].pairs] == [None, "labels and guidance together"]
    (cell,) = run.glob("cells/encoder-autoencoder-*/cell.json")
    facts = json.loads(cell.read_text())
    assert facts["depends"]["autoencoder"] is True
    kept = min(facts["history"], key=lambda entry: entry["score"])
    assert kept.keys() == {"step", "reconstruction", "score"}
    assert kept["score"] == kept["reconstruction"]
    assert cell.with_name("decoder.safetensors").exists()
    assert (run / "learning_curves.png").exists()
    assert "only 1 pretrained encoders" in fails("select", str(run), writes=True)
