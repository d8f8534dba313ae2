"""The study: what it computes, and what it refuses."""

import copy
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fewshot.meta_train
import fewshot.study.arms
import fewshot.study.run
from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.config.load import override
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, wrong_queries
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.study import Study
from fewshot.study.outcome import Answers
from guided.augment import Augmentation
from guided.encoder import Encoder, provenance
from guided.seeds import derive_seed

pytestmark = pytest.mark.usefixtures("cache")

SETTING = Setting(3, 1, 4)
SEED = derive_seed(0, "test", "3w1s")
CONDITIONS = [("pixels", "all"), ("random", "all"), ("vae", "all")]
CONDITIONS += [("guided", "all"), ("guided", "class")]


def run_study(config, folder, splits=None):
    return Study(config, splits or config.dataset(None).splits(), folder, say=str).run()


def cell_of(finished, stem):
    (folder,) = (finished.folder / "cells").glob(f"{stem}-*")
    return folder


def encoder_of(finished, stem, latents="all"):
    return Encoder.load(cell_of(finished, stem) / "encoder.safetensors", latents)


def count_wrong(logits):
    n_way, n_query = logits.shape[-1], logits.shape[-2] // logits.shape[-1]
    return int((logits.argmax(-1) != torch.arange(n_way).repeat_interleave(n_query)).sum())


# What a finished study has computed.


@pytest.mark.parametrize("learner", ["prototypical", "trained"])
@pytest.mark.parametrize(("arm", "latents"), CONDITIONS)
def test_errors_are_those_of_the_saved_encoders(finished, splits, arm, latents, learner):
    """Recomputed from the checkpoints alone, with a plain loop over the episodes."""
    sampler = EpisodeSampler(splits.test, SETTING, SEED)
    metric = "cosine" if learner == "trained" else "squared_euclidean"
    meta_trained = learner == "trained" and arm != "pixels"
    for row, seed in enumerate([0, 1]):
        stem = f"train-{arm}-seed{seed}-{latents}-trained"
        stem = stem if meta_trained else f"encoder-{arm}-seed{seed}"
        encoder = encoder_of(finished, stem, None if meta_trained else latents)
        assert encoder.latents == latents
        model = Prototypical(encoder, metric=metric)
        with torch.no_grad():
            batches = (sampler[i].gather(splits.test.images) for i in range(20))
            wrong = [count_wrong(model.logits(batch)[0]) for batch in batches]
        assert finished.wrong[f"{arm}|{learner}|{latents}|3w1s"][row].tolist() == wrong


def test_each_latents_have_embeddings_of_their_own(study, shallow, splits, tmp_path):
    """With one learner, the latents of an arm follow one another, and embeddings are kept."""
    study["learners"]["nearest"] = {"learner": {"class_path": "NearestNeighbour"}}
    outcome = run_study(load(CompareConfig, study), tmp_path / "run", splits)
    sampler = EpisodeSampler(splits.test, SETTING, SEED)
    guided = [entry for entry in outcome.wrong if entry.key.arm == "guided"]
    assert len(guided) == 2 * 2 * 2
    for entry in guided:
        file = outcome.encoders["guided", entry.key.seed].encoder_file
        encoder = Encoder.load(file, entry.key.latents)
        # At one shot, the nearest neighbour and the nearest prototype are the same.
        embeddings = embed_bank(encoder, splits.test)
        expected = wrong_queries(Prototypical(encoder), embeddings, sampler, 20)
        assert entry.wrong.tolist() == expected.tolist()
    assert len({tuple(entry.wrong.tolist()) for entry in guided}) == 4


def test_conditions_are_complete_and_differ_where_they_should(finished):
    assert set(finished.wrong) == {
        f"{arm}|{learner}|{latents}|{setting}"
        for arm, latents in CONDITIONS
        for learner in ("prototypical", "trained")
        for setting in ("3w1s", "2w3s")
    }
    assert all(array.shape == (2, 20) for array in finished.wrong.values())
    for key, (zero, one) in finished.wrong.items():
        if key.startswith("pixels"):
            assert np.array_equal(zero, one), "the same for every seed"
    assert not list((finished.folder / "cells").glob("train-pixels*"))

    def errors(arm, latents="all", learner="prototypical"):
        return finished.wrong[f"{arm}|{learner}|{latents}|3w1s"]

    for arm in ("random", "vae", "guided"):
        assert not np.array_equal(*errors(arm))
        assert not np.array_equal(errors(arm), errors(arm, learner="trained"))
    assert not np.array_equal(errors("vae"), errors("guided"))
    assert not np.array_equal(errors("vae"), errors("random"))
    assert not np.array_equal(errors("guided"), errors("guided", "class"))


def test_the_kept_state_is_the_one_that_validated_best(finished, splits):
    """Few-shot error of the saved encoder on the validation classes, by the study's own rule."""
    judge = EpisodeSampler(splits.validation, SETTING, derive_seed(0, "selection"))
    for arm in ("vae", "guided"):
        cell = cell_of(finished, f"encoder-{arm}-seed1") / "cell.json"
        history = json.loads(cell.read_text())["history"]
        assert [entry["step"] for entry in history] == [2, 4, 6, 8]
        model = Prototypical(encoder_of(finished, f"encoder-{arm}-seed1"))
        with torch.no_grad():
            logits = model.logits(judge.batch(0, 10).gather(splits.validation.images))
        best = min(entry["score"] for entry in history)
        assert 100 * count_wrong(logits) / logits[..., 0].numel() == pytest.approx(best, rel=1e-5)


def test_arms_of_a_seed_start_from_the_same_backbone(finished, parsed, splits):
    """So that a difference is the guidance's: the random arm is what the others start from."""
    study = Study(parsed, splits, finished.folder, say=str)
    for seed in (0, 1):
        saved = encoder_of(finished, f"encoder-random-seed{seed}").backbone.state_dict()
        for name in ("vae", "guided"):
            start = study.arms.untrained(parsed.arms[name], seed).backbone.state_dict()
            assert all(torch.equal(start[key], saved[key]) for key in saved)


def test_what_finished_cells_hold(finished):
    folder = cell_of(finished, "encoder-guided-seed1")
    facts = provenance(folder / "encoder.safetensors")
    assert (facts["seed"], facts["pretrain"]["steps"]) == (1, 8)
    assert facts["guidance"][0]["class_path"] == "guided.guidance.ExcitationInhibition"
    assert facts["guidance"][0]["init_args"]["excitation"] == 10
    assert set(facts["images"]) == {"train", "validation", "test"}
    assert (folder / "traversals.png").stat().st_size > 1000
    assert not list(finished.folder.rglob("state.pt"))
    assert not list(finished.folder.rglob("*.tmp"))
    cells = (finished.folder / "cells").glob("*/cell.json")
    total = sum(json.loads(file.read_text())["seconds"] for file in cells)
    assert finished.results["seconds"] == pytest.approx(total)
    assert finished.results["seconds_reused"] == 0
    # Diagnostics compare all encoders at the same latents.
    entries = finished.results["diagnostics"]
    assert Counter(entry["arm"] for entry in entries) == {"random": 2, "vae": 2, "guided": 2}
    assert all(entry["latents"] == [0, 4] for entry in entries)


def test_the_episode_shown_is_answered_by_the_saved_encoder(finished, splits):
    images = EpisodeSampler(splits.test, SETTING, SEED)[0].gather(splits.test.images)
    answers = Answers.load(cell_of(finished, "answers-vae-seed0-all-prototypical") / "answers.npz")
    assert np.array_equal(answers.support, images.support[0])
    assert np.array_equal(answers.query, images.query[0])
    with torch.no_grad():
        logits = Prototypical(encoder_of(finished, "encoder-vae-seed0")).logits(images)
    assert np.array_equal(answers.predicted, logits[0].argmax(1).view(3, 4))


def test_the_order_of_arms_and_seeds_changes_no_bit(finished, parsed, tmp_path):
    turned = replace(
        parsed, arms=dict(reversed(list(parsed.arms.items()))), seeds=list(reversed(parsed.seeds))
    )
    folder = tmp_path / "run"
    run_study(turned, folder)
    for path in finished.folder.glob("cells/*/*.*"):
        if path.parent.name.startswith("answers-"):  # the episode shown is the first seed's
            continue
        (twin,) = folder.glob(f"cells/*-{path.parent.name.rpartition('-')[2]}/{path.name}")
        if path.suffix == ".safetensors":
            one, other = load_file(path), load_file(twin)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one), path
        elif path.suffix == ".npz":
            assert path.read_bytes() == twin.read_bytes()


def test_test_augmentation_changes_the_test_and_not_the_training(
    finished, splits, tmp_path, monkeypatch
):
    learner = finished.config["learners"]["trained"]
    views = {"rotation": 20, "views": 3}
    arms = {name: finished.config["arms"][name] for name in ("random", "vae")}
    learners = {"trained": learner, "averaged": learner | {"test_augmentation": views}}
    changes = {"arms": arms, "seeds": [0], "learners": learners}
    config = load(CompareConfig, finished.config, changes)
    trainings = []
    train = fewshot.study.run.meta_train
    monkeypatch.setattr(
        fewshot.study.run, "meta_train", lambda *a, **k: (trainings.append(1), train(*a, **k))[1]
    )
    outcome = run_study(config, tmp_path / "run", splits)
    assert len(trainings) == 2, "once for each arm"
    sampler = EpisodeSampler(splits.test, SETTING, SEED)
    wrong = {"trained": [], "averaged": []}
    for entry in (entry for entry in outcome.wrong if entry.setting == SETTING):
        wrong[entry.key.learner] += entry.wrong.tolist()
        encoder = Encoder.load(outcome.learners[entry.key].source.encoder_file)
        table = embed_bank(encoder, splits.test)
        if entry.key.learner == "averaged":
            with torch.no_grad():
                table = encoder.averaged(splits.test.images, Augmentation(**views))
        expected = wrong_queries(Prototypical(encoder, metric="cosine"), table, sampler, 20)
        assert entry.wrong.tolist() == expected.tolist()
    assert wrong["trained"] != wrong["averaged"]


FINE_TUNE = {"learner": {"class_path": "FineTune"}, "test_augmentation": {"rotation": 9}}
IMPOSSIBLE = [
    ("arms.guided.latents", ["all", "klass"], "no slice is called 'klass'; there are: all,"),
    ("arms.pixels.latents", ["content"], "this encoder has none"),
    ("arms.vae.labelled", 1.5, "arms.vae.labelled: expected in (0, 1]"),
    ("arms.vae.baseline", "nobody", "baseline: no arm is called 'nobody'"),
    ("learners.prototypical.baseline", "c", "learners.prototypical.baseline: no learner is"),
    ("learners.prototypical.learner.init_args", {"temperature": -1}, "temperature: expected"),
    ("learners.trained.test_augmentation", {"views": 4}, "test_augmentation: deforms nothing"),
    ("learners.prototypical", FINE_TUNE, "test_augmentation: FineTune computes no embedding"),
    ("learners.trained.train.setting.n_way", 11, "n_way: 11 classes asked for, the set has 10"),
    ("learners.trained.train.validation.n_way", 6, "n_way: 6 classes asked for"),
    ("settings.0.n_way", 6, "n_way: 6 classes asked for"),
    ("settings.1.n_query", 6, "have too few images: "),
    ("published", [{"name": "U", "errors": {"5w1s": 3.0}}], "published.U.errors: '5w1s' is no"),
    ("pretrain.latent_dim", 3, "'class' asks for 4 latents, 3 of latent_dim 3 are left"),
    ("arms.guided.guidance.0.init_args.attributes", {"colour": 2}, "the data have no 'colour'"),
]


@pytest.mark.parametrize(("key", "value", "message"), IMPOSSIBLE)
def test_impossible_studies_fail_before_any_training(
    finished, write, tmp_path, fails, key, value, message
):
    values = copy.deepcopy(finished.config)
    override(values, key, value)
    assert message in fails("compare", write(values), writes=True)
    assert not (tmp_path / "must-not-exist" / "cells").exists()
