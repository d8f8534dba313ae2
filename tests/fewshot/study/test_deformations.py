"""Deformations that a study learns from an arm: another's augmentation, and a learner's prior."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.evaluation import table_for, wrong_queries
from fewshot.learners import FreeFormMatching
from fewshot.sampler import EpisodeSampler
from fewshot.study import Study
from fewshot.study.counts import Counts
from guided import Deformations, pretrain
from guided.encoder import Encoder, digest
from guided.figures import Sheet
from guided.seeds import derive_seed

pytestmark = pytest.mark.usefixtures("cache")

MATCHING = {"class_path": "FreeFormMatching", "init_args": {"cosine": False, "stiffness": 0.1}}


@pytest.fixture
def config(study):
    study["arms"] = {
        "taught": {"deformations": "pixels", "augmentation": {"thickness": 0.5, "strength": 2}},
        "pixels": {"encoder": "pixels"},
        "random": {"encoder": "random"},
    }
    here = {"learner": MATCHING, "arms": ["pixels"]}
    study["learners"] |= {
        "by_hand": here,
        "learned": here | {"deformations": "pixels", "baseline": "by_hand"},
    }
    return study | {"seeds": [0], "baseline": None, "fit": {"pairs": 24, "keep": 0.75}}


def test_arms_and_learners_use_what_was_learned(config, write, tmp_path):
    """They are what the file of deformations makes them; a cell that is lost comes back the same.

    The figure is on the page; the paired difference is that of the two priors.
    """
    folder = tmp_path / "run"
    assert main(["compare", write(config), "--output", str(folder)]) == 0
    (learned,) = folder.glob("cells/deformations-pixels-seed0-*")
    facts = json.loads((learned / "cell.json").read_text())
    assert (facts["pairs"], facts["kept"]) == (24, 18)
    assert (learned / "deformations.png").exists()
    file = learned / "deformations.safetensors"

    parsed = load(CompareConfig, config)
    splits = parsed.dataset(None).splits()
    augmentation = replace(parsed.arms["taught"].augmentation, learned=file)
    study = Study(parsed, splits, tmp_path / "other", say=str)
    expected = pretrain(
        splits.train,
        splits.validation,
        replace(parsed.pretrain, augmentation=augmentation),
        seed=0,
        score=study.arms._score(parsed.arms["taught"]),
    )
    (taught,) = folder.glob("cells/encoder-taught-seed0-*")
    made = digest(Encoder.load(taught / "encoder.safetensors"))
    assert made == digest(expected.encoder)
    sheet = Sheet.load(taught / "sheets" / "learned_deformations.png")
    assert "image" in sheet.columns
    assert "Learned deformations" in (folder / "report.html").read_text()

    wrong, setting = Counts.load(folder / "episodes.npz").wrong, parsed.settings[0]
    sampler = EpisodeSampler(splits.test, setting, derive_seed(0, "test", setting.label))
    for name, prior in (("by_hand", {}), ("learned", {"prior": file})):
        settings = MATCHING["init_args"] | prior
        learner = FreeFormMatching(splits.train.plain_encoder(), **settings).eval()
        counts = wrong_queries(learner, table_for(learner, splits.test), sampler, 20).numpy()
        assert np.array_equal(wrong["pixels", name, "all", setting.label][0], counts)

    file.unlink()
    (taught / "cell.json").unlink()
    Study(parsed, splits, folder, say=str).run()
    assert file.exists()
    assert digest(Encoder.load(taught / "encoder.safetensors")) == made


def test_no_label_of_a_training_image_is_read(config, tmp_path):
    parsed = load(CompareConfig, config)
    splits = parsed.dataset(None).splits()
    labels = splits.train.labels.roll(3)
    mixed = replace(splits, train=replace(splits.train, labels=labels))
    found = []
    for name, banks in (("plain", splits), ("mixed", mixed)):
        study = Study(parsed, banks, tmp_path / name, say=str)
        cell = study.arms.deformations("pixels", 0)
        for task in study.cells.missing:
            study.cells.compute(task.cell.digest)
        found.append(Deformations.load(cell.deformations_file))
    assert not torch.equal(splits.train.labels, labels)
    assert torch.equal(found[0].covariance, found[1].covariance)
    assert torch.equal(found[0].aligned, found[1].aligned)


MISTAKES = [
    ("arms", "taught", {"deformations": "nobody"}, "deformations: no arm is called 'nobody'"),
    ("arms", "taught", {"deformations": "taught"}, "taught.deformations: needs itself"),
    (
        "arms",
        "pixels",
        {"encoder": "pixels", "deformations": "taught"},
        "needs itself, by way of taught, pixels",
    ),
    ("arms", "pixels", {"encoder": "pixels", "deformations": "random"}, "a pixels encoder is not"),
    ("arms", "taught", {"augmentation": {"learned": "FILE"}}, "a study learns its deformations"),
    ("learners", "by_hand", {"deformations": "x"}, "by_hand.deformations: no arm is called 'x'"),
    ("learners", "prototypical", {"deformations": "pixels"}, "has no prior of deformations"),
    (
        "learners",
        "learned",
        {"learner": {"class_path": "FreeFormMatching", "init_args": {"prior": {"rotation": 9.0}}}},
        "learned.deformations: the learner has a prior of its own",
    ),
    (
        "learners",
        "by_hand",
        {"learner": {"class_path": "FreeFormMatching", "init_args": {"prior": "FILE"}}},
        "a study learns its deformations itself",
    ),
]


@pytest.mark.parametrize(("part", "name", "changes", "message"), MISTAKES)
def test_settings_that_cannot_be_right(
    config, write, fails, tmp_path, part, name, changes, message
):
    file = tmp_path / "learned.safetensors"
    Deformations(torch.eye(32), torch.eye(32)).save(file)
    text = json.dumps(changes).replace("FILE", str(file))
    config[part][name] |= json.loads(text)
    line = fails("compare", write(config))
    assert f"{part}.{name}" in line
    assert message in line
