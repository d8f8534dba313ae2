"""Arms whose encoder comes from a file: the numbers of what is in the file, or one line."""

import copy
import shutil

import numpy as np
import pytest

from fewshot.cli import main
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.latents import LatentLayout

pytestmark = pytest.mark.usefixtures("cache")


def encoder_of(finished, arm, seed):
    (folder,) = (finished.folder / "cells").glob(f"encoder-{arm}-seed{seed}-*")
    return folder / "encoder.safetensors"


@pytest.fixture
def config(finished, study, tmp_path):
    """Pixels, and the finished study's guided encoders, one file a seed."""
    for seed in (0, 1):
        shutil.copy(encoder_of(finished, "guided", seed), tmp_path / f"e{seed}.safetensors")
    mine = {"encoder": "checkpoint", "checkpoint": str(tmp_path / "e{seed}.safetensors")}
    study["arms"] = {"pixels": {"encoder": "pixels"}, "mine": mine | {"latents": ["all", "class"]}}
    learners = copy.deepcopy(finished.config["learners"])
    return study | {"baseline": "pixels", "learners": learners}


@pytest.fixture
def compare(tmp_path, write, config, capsys):
    def run():
        assert main(["compare", write(config), "--output", str(tmp_path / "run")]) == 0
        capsys.readouterr()
        with np.load(tmp_path / "run" / "episodes.npz") as stored:
            return {key: stored[key] for key in stored}

    return run


def test_errors_are_those_of_the_files_encoders(finished, compare):
    """Also after meta-training, which starts from them."""
    arrays = compare()
    for learner in ("prototypical", "trained"):
        for latents in ("all", "class"):
            expected = finished.arrays[f"guided|{learner}|{latents}|3w1s"]
            assert np.array_equal(arrays[f"mine|{learner}|{latents}|3w1s"], expected)


def test_a_file_that_changed_is_another_encoder(finished, compare, config, tmp_path):
    config["arms"]["mine"]["latents"] = ["all"]
    before = compare()
    cells = set((tmp_path / "run" / "cells").iterdir())
    # It is the content that counts, not the place.
    for seed in (0, 1):
        (tmp_path / f"e{seed}.safetensors").rename(tmp_path / f"moved{seed}.safetensors")
    config["arms"]["mine"]["checkpoint"] = str(tmp_path / "moved{seed}.safetensors")
    again = compare()
    assert all(np.array_equal(again[key], errors) for key, errors in before.items())
    assert set((tmp_path / "run" / "cells").iterdir()) == cells, "nothing was computed"
    for seed in (0, 1):
        shutil.copy(encoder_of(finished, "vae", seed), tmp_path / f"moved{seed}.safetensors")
    expected = finished.arrays["vae|prototypical|all|3w1s"]
    assert np.array_equal(compare()["mine|prototypical|all|3w1s"], expected)


def test_one_file_serves_all_seeds(finished, compare, config):
    config["arms"]["mine"]["checkpoint"] = str(encoder_of(finished, "guided", 1))
    arrays = compare()
    one = finished.arrays["guided|prototypical|class|3w1s"][1]
    assert np.array_equal(arrays["mine|prototypical|class|3w1s"], np.stack([one, one]))
    trained = arrays["mine|trained|class|3w1s"]
    assert not np.array_equal(*trained), "meta-training has the study's seeds"


def test_an_encoder_with_few_latents_beside_an_arm_that_excites(
    finished, compare, config, tmp_path
):
    """It has no latents where the other arm's slice is: nothing of it is probed."""
    Encoder(Conv4((1, 16, 16), width=4), LatentLayout({"content": (0, 2)})).save(
        tmp_path / "small.safetensors"
    )
    small = {"encoder": "checkpoint", "checkpoint": str(tmp_path / "small.safetensors")}
    config["arms"]["small"] = small
    config["learners"].pop("trained")
    assert compare()["small|prototypical|all|3w1s"].shape == (2, 20)


@pytest.fixture
def refused(fails, write, config, tmp_path):
    """Run a study that must be refused before it computes anything; returns the line."""

    def run():
        line = fails("compare", write(config), writes=True)
        assert not (tmp_path / "must-not-exist" / "cells").exists()
        return line

    return run


def test_a_missing_file_before_anything_is_trained(refused, tmp_path):
    """The second seed's: what the first seed needs is there."""
    (tmp_path / "e1.safetensors").unlink()
    line = refused()
    assert "e1.safetensors: no such encoder checkpoint" in line


def another_shape(path):
    Encoder(Pixels((1, 12, 12)), None).save(path)


def projection(path):
    Encoder(Pixels((1, 16, 16)), None).with_projection(3).save(path)


def no_class(path):
    Encoder(Conv4((1, 16, 16), width=4), LatentLayout({"content": (0, 2)})).save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (another_shape, "e0.safetensors: made for images (1, 12, 12), the dataset's are (1, 16"),
        (projection, "e0.safetensors: ends in a projection"),
        (no_class, "no slice is called 'class'; there are: all, content"),
        (lambda path: path.write_text("<html>"), "e0.safetensors: damaged encoder checkpoint"),
    ],
)
def test_a_file_that_cannot_be_used(refused, tmp_path, make, message):
    make(tmp_path / "e0.safetensors")
    assert message in refused()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"encoder": "checkpoint"}, "checkpoint: missing; name the encoder's file"),
        ({"checkpoint": "e.safetensors"}, "checkpoint: a pretrained encoder is not read from"),
        (
            {"encoder": "random", "checkpoint": "e.safetensors"},
            "checkpoint: a random encoder is not read from a file",
        ),
        (
            {
                "encoder": "checkpoint",
                "checkpoint": "e.safetensors",
                "guidance": [{"class_path": "DeformablePCA"}],
            },
            "guidance: a checkpoint encoder cannot be guided",
        ),
    ],
)
def test_settings_that_contradict_each_other(fails, write, config, arm, message):
    config["arms"]["mine"] = arm
    assert message in fails("compare", write(config))
