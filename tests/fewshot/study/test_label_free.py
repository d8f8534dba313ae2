"""The label-free pipeline from end to end: guided VAE, tasks, learner, error."""

import copy
import json

import numpy as np
import pytest
import yaml

from fewshot.cli import main
from fewshot.config.load import override
from fewshot.study.counts import Counts

pytestmark = pytest.mark.usefixtures("cache")

ARMS = yaml.safe_load("""
vae: {}
contrastive:
  guidance: [{class_path: KnownDeformation, init_args: {deformations: []}}]
  elbo: false
known:
  guidance:
  - {class_path: DeformablePCA, init_args: {deformations: [rotation, scale], exchange: true}}
  - {class_path: KnownDeformation, init_args: {deformations: [rotation, scale]}}
  latents: [all, content]
""")


def tasks(class_path, **init_args):
    setting = {"n_way": 4, "n_shot": 1, "n_query": 2}
    validation = {"n_way": 3, "n_shot": 1, "n_query": 4}
    train = {"setting": setting, "validation": validation, "validation_episodes": 4, "steps": 3}
    chosen = {"class_path": class_path, "init_args": init_args}
    return {
        "learner": {"class_path": "Prototypical"},
        "train": train | {"validate_every": 3, "tasks": chosen},
    }


@pytest.fixture
def label_free(study):
    study["pretrain"]["augmentation"] = {"rotation": 20, "scale": 0.2, "views": 2}
    study["arms"] = copy.deepcopy(ARMS)
    study["learners"] = {
        "nearest": {"learner": {"class_path": "Prototypical"}},
        "refined": {"learner": {"class_path": "RefinedPrototypical"}},
        "views": tasks("ViewTasks", augmentation={"rotation": 20}),
        "clusters": tasks("ClusterTasks", n_clusters=6, n_partitions=2),
        "neighbours": tasks("NeighbourTasks", candidates=6, neighbours=3),
        "partitions": tasks("PartitionTasks", n_ranges=5),
    }
    return study | {"seeds": [0]}


def test_from_images_to_errors(label_free, write, tmp_path):
    folder = tmp_path / "run"
    assert main(["compare", write(label_free), "--output", str(folder)]) == 0
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert {row["learner"] for row in rows} == set(label_free["learners"])
    assert all(row["transductive"] == (row["learner"] == "refined") for row in rows)
    conditions = {(row["arm"], row["latents"]) for row in rows}
    assert conditions >= {("known", "content"), ("contrastive", "all")}
    wrong = Counts.load(folder / "episodes.npz").wrong
    start = wrong["known", "nearest", "content", "3w1s"]
    for learner in ("views", "clusters", "partitions"):
        assert not np.array_equal(wrong["known", learner, "content", "3w1s"], start)
    cells = folder / "cells"
    (known,) = cells.glob("encoder-known-*")
    assert (known / "decoder.safetensors").exists()
    assert (known / "augmentation.png").exists()
    (alone,) = cells.glob("encoder-contrastive-*")
    assert not (alone / "decoder.safetensors").exists()


def test_decoded_tasks_need_a_decoder(fails, write, label_free, tmp_path):
    label_free["learners"] = {"decoded": tasks("DecodedTasks")}
    for arm in (ARMS["contrastive"], {"encoder": "random"}):
        label_free["arms"] = {"vae": {}, "other": arm}
        line = fails("compare", write(label_free), writes=True)
        assert "learners.decoded.train.tasks: DecodedTasks needs a decoder" in line
        assert not list((tmp_path / "must-not-exist").glob("cells/*")), "before training"
    label_free["arms"] = {"vae": {}}
    assert main(["compare", write(label_free), "--output", str(tmp_path / "run")]) == 0


RANDOM = {"encoder": "random", "augmentation": {"rotation": 5}}
NO_SCALE = {"rotation": 20, "views": 2}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arms.random", RANDOM, "arms.random.augmentation: a random encoder is not trained here"),
        ("arms.contrastive.guidance", [], "arms.contrastive.elbo: without it the arm needs"),
        ("pretrain.augmentation", {}, "KnownDeformation: needs augmentation.views 2, got 1"),
        (
            "pretrain.augmentation",
            NO_SCALE,
            "augmentation draws no 'scale', or flip may reverse it; known: rotation",
        ),
        ("pretrain.elbo", False, "pretrain.elbo: belongs to the arms of a study"),
    ],
)
def test_impossible_studies_are_refused(fails, write, label_free, key, value, message):
    override(label_free, key, value)
    assert message in fails("compare", write(label_free), writes=True)
