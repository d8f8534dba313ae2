"""Arms: whom they are paired with, their own steps, and encoders that come from a file."""

import copy
import json
import shutil
from functools import partial

import numpy as np
import pytest

import fewshot
from fewshot.cli import main
from fewshot.config.load import override
from fewshot.learners import Prototypical
from fewshot.study import ArmConfig, LearnerConfig, StudyConfig, StudyResult
from fewshot.study.counts import Counts
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.latents import LatentLayout

pytestmark = pytest.mark.usefixtures("cache")


def partners(baseline, **own):
    """Arm -> the arms that it is paired with."""
    arms = {name: ArmConfig(baseline=own.get(name)) for name in ("pixels", "vae", "guided")}
    learners = {"p": LearnerConfig(partial(Prototypical))}
    config = StudyConfig("s", lambda _: None, arms, learners, baseline=baseline)
    pairs = {name: config.partners_of(name, "p") for name in arms}
    assert all(learner == "p" for found in pairs.values() for _, learner in found)
    return {name: [partner for partner, _ in found] for name, found in pairs.items() if found}


def test_whom_an_arm_is_paired_with():
    assert partners("vae") == {"pixels": ["vae"], "guided": ["vae"]}
    assert partners(["vae", "pixels"]) == {"guided": ["vae", "pixels"]}
    assert partners(None) == {}
    own = ["pixels", "vae"]
    assert partners(None, guided=own) == {"guided": own}
    assert partners("vae", guided=own, vae="pixels") == {
        "pixels": ["vae"],
        "vae": ["pixels"],
        "guided": own,
    }
    assert partners("vae", guided=["guided", "pixels"])["guided"] == ["pixels"], "not with itself"
    assert partners("vae", guided=[]) == {"pixels": ["vae"]}


def test_a_study_without_a_baseline_and_an_arm_with_two(study, write, tmp_path):
    """Also with steps of its own."""
    study["baseline"] = None
    own = {"steps": 4, "baseline": ["random", "pixels"]}
    study["arms"] = {name: study["arms"][name] for name in ("pixels", "random", "vae")}
    study["arms"]["short"] = own
    run = tmp_path / "run"
    assert main(["compare", write(study), "--output", str(run)]) == 0
    rows = {row.arm: row for row in StudyResult.load(run).rows}
    assert {name for name, row in rows.items() if row.pairs} == {"short"}
    wrong = {key[0]: counts for key, counts in Counts.load(run / "episodes.npz").wrong.items()}
    assert [pair.partner for pair in rows["short"].pairs] == own["baseline"]
    for pair in rows["short"].pairs:
        points = 100 * (wrong["short"].mean() - wrong[pair.partner].mean()) / (3 * 4)
        assert pair.difference == pytest.approx(points, abs=1e-4)
    for name, steps in (("vae", [2, 4, 6, 8]), ("short", [2, 4])):
        (cell,) = run.glob(f"cells/encoder-{name}-seed0-*/cell.json")
        assert [entry["step"] for entry in json.loads(cell.read_text())["history"]] == steps


def test_a_study_of_which_nothing_is_paired(study, write, tmp_path, capsys):
    study |= {"baseline": None, "arms": {"pixels": {"encoder": "pixels"}}}
    assert main(["compare", write(study), "--output", str(tmp_path / "run")]) == 0
    assert "minus" not in capsys.readouterr().out
    (row,) = StudyResult.load(tmp_path / "run").rows
    assert row.pairs == ()
    assert not (tmp_path / "run" / "paired_differences.png").exists()


def test_an_arm_may_have_a_backbone_and_learners_of_its_own(study, write, tmp_path, fails):
    wide = {"class_path": "Conv4", "init_args": {"width": 12, "downsample": "stride"}}
    study["arms"] = {"random": {"encoder": "random"}}
    study["arms"]["wide"] = {"encoder": "random", "backbone": wide}
    study["arms"]["pixels"] = {"encoder": "pixels"}
    plain = {"learner": {"class_path": "Prototypical"}}
    study["learners"] = {"all": plain, "some": plain | {"arms": ["wide"], "baseline": "all"}}
    study |= {"seeds": [0], "baseline": "random"}
    result = fewshot.compare(write(study), output=tmp_path / "run")
    pairs = {
        (row.arm, row.learner): [(pair.by, pair.partner) for pair in row.pairs]
        for row in result.rows
    }
    assert pairs == {
        ("random", "all"): [],
        ("wide", "all"): [("arm", "random")],
        ("wide", "some"): [("learner", "all")],
        ("pixels", "all"): [("arm", "random")],
    }
    for name, width in (("random", 8), ("wide", 12)):
        (folder,) = (tmp_path / "run" / "cells").glob(f"encoder-{name}-*")
        weights = Encoder.load(folder / "encoder.safetensors").backbone.state_dict()
        assert next(w for w in weights.values() if w.ndim == 4).shape[0] == width
    for key, value, message in (
        (
            "arms.pixels.backbone",
            wide,
            "arms.pixels.backbone: a pixels encoder has none",
        ),
        ("learners.some.arms", ["nobody"], "learners.some.arms: no arm is called 'nobody'"),
        ("learners.all.arms", ["wide"], "arms.pixels: no learner names it"),
    ):
        values = copy.deepcopy(study)
        override(values, key, value)
        assert message in fails("compare", write(values))


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
def compare(tmp_path, write, config):
    def run():
        assert main(["compare", write(config), "--output", str(tmp_path / "run")]) == 0
        wrong = Counts.load(tmp_path / "run" / "episodes.npz").wrong
        return {"|".join(key): counts for key, counts in wrong.items()}

    return run


def test_errors_are_those_of_the_encoders_in_the_files(finished, compare, config, tmp_path):
    """Also after meta-training, which starts from them."""
    before = compare()
    for learner in ("prototypical", "trained"):
        for latents in ("all", "class"):
            expected = finished.wrong[f"guided|{learner}|{latents}|3w1s"]
            assert np.array_equal(before[f"mine|{learner}|{latents}|3w1s"], expected)
    cells = set((tmp_path / "run" / "cells").iterdir())
    # It is the content that counts, not the place.
    for seed in (0, 1):
        (tmp_path / f"e{seed}.safetensors").rename(tmp_path / f"moved{seed}.safetensors")
    config["arms"]["mine"]["checkpoint"] = str(tmp_path / "moved{seed}.safetensors")
    again = compare()
    assert all(np.array_equal(again[key], wrong) for key, wrong in before.items())
    assert set((tmp_path / "run" / "cells").iterdir()) == cells, "nothing was computed"
    # A file that changed is another encoder.
    config["arms"]["mine"]["latents"] = ["all"]
    for seed in (0, 1):
        shutil.copy(encoder_of(finished, "vae", seed), tmp_path / f"moved{seed}.safetensors")
    expected = finished.wrong["vae|prototypical|all|3w1s"]
    assert np.array_equal(compare()["mine|prototypical|all|3w1s"], expected)


def test_one_file_serves_all_seeds(finished, compare, config):
    config["arms"]["mine"]["checkpoint"] = str(encoder_of(finished, "guided", 1))
    wrong = compare()
    one = finished.wrong["guided|prototypical|class|3w1s"][1]
    assert np.array_equal(wrong["mine|prototypical|class|3w1s"], np.stack([one, one]))
    trained = wrong["mine|trained|class|3w1s"]
    assert not np.array_equal(*trained), "meta-training has the study's seeds"


def small(path):
    Encoder(Conv4((1, 16, 16), width=4), LatentLayout({"content": (0, 2)})).save(path)


def test_an_encoder_with_few_latents_beside_an_arm_that_excites(compare, config, tmp_path):
    """It has no latents where the other arm's slice is: nothing of it is probed."""
    small(tmp_path / "small.safetensors")
    file = str(tmp_path / "small.safetensors")
    config["arms"]["small"] = {"encoder": "checkpoint", "checkpoint": file}
    config["learners"].pop("trained")
    assert compare()["small|prototypical|all|3w1s"].shape == (2, 20)


def another_shape(path):
    Encoder(Pixels((1, 12, 12)), None).save(path)


def projection(path):
    Encoder(Pixels((1, 16, 16)), None).with_projection(3).save(path)


@pytest.mark.parametrize(
    ("seed", "change", "message"),
    [
        (0, another_shape, "made for images (1, 12, 12), the dataset's are (1, 16, 16)"),
        (0, projection, "e0.safetensors: ends in a projection"),
        (0, small, "no slice is called 'class'; there are: all, content"),
        (0, lambda path: path.write_text("<html>"), "e0.safetensors: damaged encoder checkpoint"),
        # What the first seed needs is there.
        (1, lambda path: path.unlink(), "e1.safetensors: no such encoder checkpoint"),
    ],
)
def test_unusable_files_before_anything_is_computed(
    fails, write, config, tmp_path, seed, change, message
):
    change(tmp_path / f"e{seed}.safetensors")
    assert message in fails("compare", write(config), writes=True)
    assert not (tmp_path / "must-not-exist" / "cells").exists()


def test_settings_that_contradict_each_other(fails, write, config):
    for arm, message in (
        ({"encoder": "checkpoint"}, "checkpoint: missing; name the encoder's file"),
        ({"checkpoint": "e"}, "checkpoint: a pretrained encoder is not read from a file"),
        ({"checkpoint": "e", "encoder": "random"}, "checkpoint: a random encoder is not read"),
        (
            {"checkpoint": "e", "encoder": "checkpoint", "guidance": ["DeformablePCA"]},
            "guidance: a checkpoint encoder cannot be guided",
        ),
    ):
        config["arms"]["mine"] = arm
        assert message in fails("compare", write(config))
