"""The study: what it computes, what it finds again, what it does after a kill."""

import copy
import json
import multiprocessing
import shutil
import signal
import time
from collections import Counter

import numpy as np
import pytest
import torch
import yaml

import fewshot.meta_train
import fewshot.study.arms
import fewshot.study.run
from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.study import Study, StudyResult
from fewshot.study.outcome import Answers
from guided.augment import Augmentation
from guided.encoder import Encoder, provenance
from guided.seeds import derive_seed
from guided.training.pretrain import Pretrained, build_model
from guided.training.state import Progress, ResumableState

pytestmark = pytest.mark.usefixtures("cache")

CONDITIONS = [
    ("pixels", "all"),
    ("random", "all"),
    ("vae", "all"),
    ("guided", "all"),
    ("guided", "class"),
]


def parsed(file):
    return parse(CompareConfig, [str(file)], "compare")


def splits_of(config):
    return config.dataset(None).splits()


# What a finished study has computed.


@pytest.mark.parametrize("learner", ["prototypical", "trained"])
@pytest.mark.parametrize(("arm", "latents"), CONDITIONS)
def test_errors_are_those_of_the_saved_encoders(finished, arm, latents, learner):
    """Recomputed from the checkpoints alone, with a plain loop over the episodes."""
    test = splits_of(parsed(finished.file)).test
    setting = Setting(3, 1, 4)
    seed = derive_seed(0, "test", "3w1s")
    sampler = EpisodeSampler(test, setting, seed)
    metric = "cosine" if learner == "trained" else "squared_euclidean"
    meta_trained = learner == "trained" and arm != "pixels"
    for row, pretraining_seed in enumerate([0, 1]):
        stem = f"train-{arm}-seed{pretraining_seed}-{latents}-trained"
        stem = stem if meta_trained else f"encoder-{arm}-seed{pretraining_seed}"
        (folder,) = (finished.folder / "cells").glob(f"{stem}-*")
        encoder = Encoder.load(folder / "encoder.safetensors", None if meta_trained else latents)
        assert encoder.latents == latents
        model = Prototypical(encoder, metric=metric)
        errors = []
        for i in range(20):
            with torch.no_grad():
                logits = model.logits(sampler[i].gather(test.images))[0]
            wrong = logits.argmax(1) != torch.arange(3).repeat_interleave(4)
            errors.append(100 * float(wrong.float().mean()))
        stored = finished.arrays[f"{arm}|{learner}|{latents}|3w1s"][row]
        np.testing.assert_allclose(stored, errors, rtol=1e-6)


def test_each_latents_have_embeddings_of_their_own(write, study, shallow, monkeypatch, tmp_path):
    """With one learner, the latents of an arm follow one another, and embeddings are kept."""
    shallow(monkeypatch)
    study["learners"]["nearest"] = {"learner": {"class_path": "NearestNeighbour"}}
    config = parsed(write(study))
    splits = splits_of(config)
    outcome = Study(config, splits, tmp_path / "run", say=str).run()
    sampler = EpisodeSampler(splits.test, Setting(3, 1, 4), derive_seed(0, "test", "3w1s"))
    guided = [entry for entry in outcome.errors if entry.key.arm == "guided"]
    assert len(guided) == 2 * 2 * 2
    for entry in guided:
        file = outcome.encoders["guided", entry.key.seed].encoder_file
        encoder = Encoder.load(file, entry.key.latents)
        # At one shot, the nearest neighbour and the nearest prototype are the same.
        embeddings = embed_bank(encoder, splits.test)
        expected = episode_errors(Prototypical(encoder), embeddings, sampler, 20)
        assert torch.equal(entry.errors, expected)
    assert len({tuple(entry.errors.tolist()) for entry in guided}) == 4


def test_every_condition_is_there(finished):
    assert set(finished.arrays) == {
        f"{arm}|{learner}|{latents}|{setting}"
        for arm, latents in CONDITIONS
        for learner in ("prototypical", "trained")
        for setting in ("3w1s", "2w3s")
    }
    assert all(array.shape == (2, 20) for array in finished.arrays.values())


def test_pixels_are_the_same_for_every_seed_and_are_not_trained(finished):
    for setting in ("3w1s", "2w3s"):
        for learner in ("prototypical", "trained"):
            zero, one = finished.arrays[f"pixels|{learner}|all|{setting}"]
            assert np.array_equal(zero, one)
    assert not list((finished.folder / "cells").glob("train-pixels*"))


def test_seeds_arms_latents_and_training_make_a_difference(finished):
    def errors(arm, latents="all", learner="prototypical"):
        return finished.arrays[f"{arm}|{learner}|{latents}|3w1s"]

    for arm in ("random", "vae", "guided"):
        assert not np.array_equal(*errors(arm))
        assert not np.array_equal(errors(arm), errors(arm, learner="trained"))
    assert not np.array_equal(errors("vae"), errors("guided"))
    assert not np.array_equal(errors("vae"), errors("random"))
    assert not np.array_equal(errors("guided"), errors("guided", "class"))


def test_the_kept_state_is_the_one_that_validated_best(finished):
    """Few-shot error of the saved encoder on the validation classes, by the study's own rule."""
    validation = splits_of(parsed(finished.file)).validation
    judge = EpisodeSampler(validation, Setting(3, 1, 4), derive_seed(0, "selection"))
    for arm in ("vae", "guided"):
        (folder,) = (finished.folder / "cells").glob(f"encoder-{arm}-seed1-*")
        history = json.loads((folder / "cell.json").read_text())["history"]
        assert [entry["step"] for entry in history] == [2, 4, 6, 8]
        model = Prototypical(Encoder.load(folder / "encoder.safetensors"))
        with torch.no_grad():
            logits = model.logits(judge.batch(0, 10).gather(validation.images))
        wrong = logits.argmax(2) != torch.arange(3).repeat_interleave(4)
        best = min(entry["score"] for entry in history)
        assert 100 * float(wrong.float().mean()) == pytest.approx(best, rel=1e-5)


def test_arms_of_a_seed_start_from_the_same_backbone(finished):
    """So that a difference is the guidance's: the random arm is what the others start from."""
    config = parsed(finished.file)
    study = Study(config, splits_of(config), finished.folder, say=str)
    for seed in (0, 1):
        (folder,) = (finished.folder / "cells").glob(f"encoder-random-seed{seed}-*")
        saved = Encoder.load(folder / "encoder.safetensors").backbone.state_dict()
        for name in ("vae", "guided"):
            start = study.arms.untrained(config.arms[name], seed).backbone.state_dict()
            assert all(torch.equal(start[key], saved[key]) for key in saved)


def test_checkpoints_say_where_they_come_from(finished):
    (folder,) = (finished.folder / "cells").glob("encoder-guided-seed1-*")
    facts = provenance(folder / "encoder.safetensors")
    assert facts["seed"] == 1
    assert facts["guidance"][0]["class_path"] == "ExcitationInhibition"
    assert facts["guidance"][0]["init_args"]["excitation"] == 10
    assert facts["pretrain"]["steps"] == 8
    assert set(facts["images"]) == {"train", "validation", "test"}
    assert (folder / "traversals.png").stat().st_size > 1000


def test_finished_cells_keep_no_training_state(finished):
    assert not list(finished.folder.rglob("state.pt"))
    assert not list(finished.folder.rglob("*.tmp"))


def test_diagnostics_compare_all_encoders_at_the_same_latents(finished):
    entries = finished.results["diagnostics"]
    assert Counter(entry["arm"] for entry in entries) == {"random": 2, "vae": 2, "guided": 2}
    assert all(entry["latents"] == [0, 4] for entry in entries)


# What a later run finds.


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*")}


def test_a_second_run_computes_nothing(finished, capsys, tmp_path):
    """Nor does its report: there is no model that it could run."""
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (run / "finished.json").unlink()
    for weights in run.rglob("*.safetensors"):
        weights.unlink()
    before = mtimes(run)
    # The configuration that the run wrote is the one that finds its cells.
    assert main(["compare", str(run / "config.yaml"), "--output", str(run)]) == 0
    capsys.readouterr()
    assert mtimes(run) == before
    again = StudyResult.load(run)
    assert again.rows == StudyResult.load(finished.folder).rows
    assert again.to_json()["diagnostics"] == finished.results["diagnostics"]
    assert again.facts["config"] == finished.results["config"] | {"output": str(run)}
    assert again.seconds == again.seconds_reused == finished.results["seconds"]
    for picture in ("errors.png", "episodes/guided.png"):
        assert (run / picture).read_bytes() == (finished.folder / picture).read_bytes()
    # One report in TensorBoard, not one beside the other.
    assert len(list((run / "tensorboard" / "report").glob("events.*"))) == 1


def test_seconds_are_those_of_the_cells(finished):
    cells = (finished.folder / "cells").glob("*/cell.json")
    total = sum(json.loads(file.read_text())["seconds"] for file in cells)
    assert finished.results["seconds"] == pytest.approx(total)
    assert finished.results["seconds_reused"] == 0


def test_the_episode_shown_is_answered_by_the_saved_encoder(finished):
    test = splits_of(parsed(finished.file)).test
    episode = EpisodeSampler(test, Setting(3, 1, 4), derive_seed(0, "test", "3w1s"))[0]
    (folder,) = (finished.folder / "cells").glob("answers-vae-seed0-all-prototypical-*")
    answers = Answers.load(folder / "answers.npz")
    images = episode.gather(test.images)
    assert np.array_equal(answers.support, images.support[0])
    assert np.array_equal(answers.query, images.query[0])
    (folder,) = (finished.folder / "cells").glob("encoder-vae-seed0-*")
    with torch.no_grad():
        logits = Prototypical(Encoder.load(folder / "encoder.safetensors")).logits(images)
    assert np.array_equal(answers.predicted, logits[0].argmax(1).view(3, 4))


def put(config, path, value):
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key) if key.isdigit() else key]
    config[int(last) if last.isdigit() else last] = value


@pytest.fixture(scope="module")
def shallow():
    """Studies whose training is replaced by a note of what would have been trained."""

    def patch(monkeypatch):
        trained = []

        def pretrain(train, validation, config, *, seed, description, **__):
            trained.append(description)
            model = build_model(config, train, seed)
            return Pretrained(model.vae.eval(), model, Progress(best_score=1.0))

        def meta_train(config, learner, encoder, *_, description, **__):
            trained.append(description)
            return fewshot.meta_train.MetaTrained(learner(encoder), Progress(best_score=1.0))

        monkeypatch.setattr(fewshot.study.arms, "pretrain", pretrain)
        monkeypatch.setattr(fewshot.study.run, "meta_train", meta_train)
        monkeypatch.setattr(fewshot.study.arms, "traversal_figures", lambda *_: {})
        monkeypatch.setattr(fewshot.study.run, "diagnose", lambda *_: [])
        return trained

    return patch


@pytest.fixture(scope="module")
def shallow_cells(finished, shallow, tmp_path_factory):
    """The cells of the unchanged study."""
    folder = tmp_path_factory.mktemp("shallow")
    with pytest.MonkeyPatch.context() as patch:
        trained = shallow(patch)
        config = parsed(finished.file)
        Study(config, splits_of(config), folder, say=str).run()
    assert len(trained) == 4 + 8
    return folder


@pytest.fixture
def rerun(finished, shallow, shallow_cells, tmp_path, monkeypatch):
    """Run the study after a change, where the unchanged one ran; says what was trained."""

    def run(change=lambda config: None, splits=None):
        values = copy.deepcopy(finished.config)
        change(values)
        file = tmp_path / "changed.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        folder = shutil.copytree(shallow_cells, tmp_path / "run")
        trained = shallow(monkeypatch)
        config = parsed(file)
        Study(config, splits or splits_of(config), folder, say=str).run()
        return set(trained)

    return run


def both(*texts):
    return {text.format(seed) for text in texts for seed in (0, 1)}


VAE, GUIDED = both("pretrain vae, seed {}"), both("pretrain guided, seed {}")
TRAINED = {arm: both(f"train trained on {arm}, seed {{}}") for arm in ("random", "vae", "guided")}
ALL_TRAINED = set().union(*TRAINED.values())
OTHER_ARM = {"guidance": [{"class_path": "DeformablePCA", "init_args": {}}]}

CHANGES = {
    "nothing": ("study", "tiny", set()),
    "the study's name": ("study", "other", set()),
    "the number of episodes": ("episodes", 25, set()),
    "the baseline": ("baseline", "random", set()),
    "a setting that selects nothing": ("settings.1.n_query", 3, set()),
    "a learner that selects nothing": (
        "learners.ridge",
        {"learner": {"class_path": "Ridge"}},
        set(),
    ),
    "one more set of latents": ("arms.vae.latents", ["all", "features"], TRAINED["vae"]),
    "excitation": (
        "arms.guided.guidance.0.init_args.excitation",
        11,
        GUIDED | TRAINED["guided"],
    ),
    "one more arm": (
        "arms.other",
        OTHER_ARM,
        both("pretrain other, seed {}", "train trained on other, seed {}"),
    ),
    "the precision": ("precision", "bfloat16", VAE | GUIDED | ALL_TRAINED),
    "one more seed": (
        "seeds",
        [0, 1, 2],
        {
            "pretrain vae, seed 2",
            "pretrain guided, seed 2",
            *(f"train trained on {arm}, seed 2" for arm in TRAINED),
        },
    ),
    "steps of pretraining": ("pretrain.steps", 9, VAE | GUIDED | ALL_TRAINED),
    "steps of meta-training": ("learners.trained.train.steps", 4, ALL_TRAINED),
    "the setting that selects": (
        "settings.0.n_query",
        3,
        VAE | GUIDED | TRAINED["vae"] | TRAINED["guided"],
    ),
    "the learner that selects": (
        "learners.prototypical.learner",
        {"class_path": "Ridge"},
        VAE | GUIDED | TRAINED["vae"] | TRAINED["guided"],
    ),
    "the rule that selects": (
        "select_by",
        "negative_elbo",
        VAE | GUIDED | TRAINED["vae"] | TRAINED["guided"],
    ),
    "the images": ("dataset.init_args.seed", 1, VAE | GUIDED | ALL_TRAINED),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_retrains_what_depends_on_it_and_nothing_else(rerun, change):
    path, value, expected = CHANGES[change]
    assert rerun(lambda config: put(config, path, value)) == expected


def test_other_images_under_the_same_name_are_noticed(rerun, finished):
    """A file was replaced: the configuration is the same, one pixel of one test image is not."""
    splits = splits_of(parsed(finished.file))
    images = splits.test.images.clone()
    images[3, 0, 2, 2] ^= 1
    test = ImageBank(images, splits.test.labels, splits.test.class_names)
    assert rerun(splits=Splits(splits.train, splits.validation, test)) >= VAE


def test_the_rule_that_selects_is_passed_on(finished, tmp_path, monkeypatch, shallow):
    """By negative ELBO, pretraining judges itself."""
    seen = []
    shallow(monkeypatch)
    fake = fewshot.study.arms.pretrain

    def pretrain(*arguments, score, **others):
        seen.append(score)
        return fake(*arguments, **others)

    monkeypatch.setattr(fewshot.study.arms, "pretrain", pretrain)
    values = copy.deepcopy(finished.config) | {"select_by": "negative_elbo"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = parsed(tmp_path / "config.yaml")
    Study(config, splits_of(config), tmp_path, say=str).run()
    assert seen == [None] * 4


# A killed study.


def started(arguments):
    """The command in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "fewshot.commands.compare",
            "matplotlib.backends.backend_agg",
            "sklearn.linear_model",
            "torch._dynamo",
            "torch.utils.tensorboard.writer",
        ]
    )
    process = context.Process(target=main, args=(arguments,))
    process.start()
    return process


def kill_when(process, happened):
    deadline = time.monotonic() + 300
    while not happened():
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_again_and_again_it_ends_with_the_same_bits(finished, tmp_path, monkeypatch, capsys):
    """Killed in a pretraining, in a meta-training and in the second seed, then left to finish."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tmp_path / "run"
    arguments = ["compare", str(finished.file), "--output", str(run)]
    for moment in (
        "encoder-vae-seed0-*/state.pt",
        "train-*/state.pt",
        "encoder-*-seed1-*/state.pt",
    ):
        kill_when(started(arguments), lambda m=moment: any((run / "cells").glob(m)))
    assert not (run / "results.json").exists()
    done = [path for path in mtimes(run).items() if path[0].name == "cell.json"]
    assert len(done) > 5
    restored = []
    restore = ResumableState.restore
    monkeypatch.setattr(
        ResumableState, "restore", lambda self, path: (restored.append(path), restore(self, path))
    )
    assert main(arguments) == 0
    capsys.readouterr()
    assert len(restored) == 1, "the training that was killed last went on from its state"
    assert set(done) <= set(mtimes(run).items()), "what was done was not done again"
    assert json.loads((run / "results.json").read_text())["rows"] == finished.results["rows"]
    with np.load(run / "episodes.npz") as stored:
        assert set(stored) == set(finished.arrays)
        for key, errors in finished.arrays.items():
            assert stored[key].tobytes() == errors.tobytes(), key


def test_a_longer_training_goes_on_from_a_shorter_one(finished, tmp_path, monkeypatch):
    """To the bit what it would have been alone, without doing the shared steps twice."""
    config = copy.deepcopy(finished.config)
    config["arms"] = {name: config["arms"][name] for name in ("random", "vae")}
    config["seeds"] = [0]
    config["learners"]["trained"]["train"] |= {"steps": 8, "validate_every": 2}
    steps = []
    loss = Prototypical.loss
    monkeypatch.setattr(Prototypical, "loss", lambda self, e: (steps.append(1), loss(self, e))[1])

    def run(name, **learners):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config | {"learners": config["learners"] | learners}))
        assert main(["compare", str(file), "--output", str(tmp_path / name)]) == 0
        with np.load(tmp_path / name / "episodes.npz") as stored:
            return {key: stored[key] for key in stored}

    whole = config["learners"].pop("trained")
    parts = {f"trained_{n}": whole | {"train": whole["train"] | {"steps": n}} for n in (8, 2, 3, 4)}
    alone = run("alone", trained=whole)
    assert len(steps) == 2 * 8
    steps.clear()
    together = run("together", **parts)
    assert len(steps) == 2 * (8 + 3 - 2), (
        "three is no moment of validation: nothing goes on from it"
    )
    assert not list((tmp_path / "together").rglob("state.pt"))
    for key, errors in alone.items():
        for name in {key, key.replace("trained", "trained_8")}:
            if name in together:
                assert together[name].tobytes() == errors.tobytes(), name
    assert any("trained_8" in key for key in together)


def test_test_augmentation_changes_the_test_and_not_the_training(finished, tmp_path, monkeypatch):
    config = copy.deepcopy(finished.config)
    config["arms"] = {name: config["arms"][name] for name in ("random", "vae")}
    config["seeds"] = [0]
    config["learners"] = {"trained": config["learners"]["trained"]}
    views = {"rotation": 20, "views": 3}
    config["learners"]["averaged"] = config["learners"]["trained"] | {"test_augmentation": views}
    trainings = []
    train = fewshot.study.run.meta_train
    monkeypatch.setattr(
        fewshot.study.run, "meta_train", lambda *a, **k: (trainings.append(1), train(*a, **k))[1]
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    study = parsed(tmp_path / "config.yaml")
    splits = splits_of(study)
    outcome = Study(study, splits, tmp_path / "run", say=str).run()
    assert len(trainings) == 2, "once for each arm"
    test = splits.test
    sampler = EpisodeSampler(test, Setting(3, 1, 4), derive_seed(0, "test", "3w1s"))
    for entry in outcome.errors:
        cell = outcome.learners[entry.key]
        model = Prototypical(Encoder.load(cell.encoder_file), metric="cosine")
        if entry.key.learner == "averaged":
            with torch.no_grad():
                table = model.encoder.averaged(test.images, Augmentation(**views))
        else:
            table = embed_bank(model.encoder, test)
        if entry.setting.label == "3w1s":
            expected = episode_errors(model, table, sampler, study.episodes)
            torch.testing.assert_close(entry.errors, expected)
    plain, averaged = (
        torch.cat([e.errors for e in outcome.errors if e.key.learner == name])
        for name in ("trained", "averaged")
    )
    assert not torch.equal(plain, averaged)


# What is refused before anything is trained.


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("arms.guided.latents", ["all", "klass"], "no slice is called 'klass'; there are: all,"),
        ("arms.pixels.latents", ["content"], "this encoder has none"),
        ("learners.prototypical.learner.init_args", {"temperature": -1}, "temperature: expected"),
        ("learners.trained.test_augmentation", {"views": 4}, "test_augmentation: deforms nothing"),
        (
            "learners.prototypical",
            {"learner": {"class_path": "FineTune"}, "test_augmentation": {"rotation": 9}},
            "learners.prototypical.test_augmentation: FineTune computes no embedding",
        ),
        ("learners.trained.train.setting.n_way", 11, "n_way: 11 classes asked for, the set has 10"),
        ("learners.trained.train.validation.n_way", 6, "n_way: 6 classes asked for"),
        ("settings.0.n_way", 6, "n_way: 6 classes asked for"),
        (
            "published",
            [{"name": "UFLST", "errors": {"5w1s": 3.0}}],
            "published.UFLST.errors: '5w1s' is no setting of this study, expected some of 3w1s",
        ),
        ("settings.1.n_query", 6, "has 8 images; n_shot + n_query needs 9"),
        ("pretrain.latent_dim", 3, "'class' asks for 4 latents, 3 of latent_dim 3 are left"),
        (
            "arms.guided.guidance.0.init_args.attributes",
            {"colour": 2},
            "the data have no 'colour'",
        ),
    ],
)
def test_impossible_studies_fail_before_any_training(
    finished, tmp_path, fails, path, value, message
):
    values = copy.deepcopy(finished.config)
    put(values, path, value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    line = fails("compare", str(tmp_path / "config.yaml"), writes=True)
    assert message in line
    assert not (tmp_path / "must-not-exist" / "cells").exists()
