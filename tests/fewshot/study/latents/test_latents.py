"""The study of latents: what it computes, what it finds again, what it reports, what it refuses."""

import contextlib
import copy
import gzip
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.cli import main
from fewshot.commands.probe import ProbeConfig
from fewshot.config import parse
from fewshot.data import mnist
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.labels import labelled
from fewshot.evaluation import embed_bank
from fewshot.statistics import paired_difference
from fewshot.study.latents import LatentsResult, ProbeStudy
from fewshot.study.latents.report import latents_figure
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.metrics.frechet import FrechetDistance
from guided.seeds import derive_seed
from guided.training.pretrain import build_model, pretrain

pytestmark = pytest.mark.usefixtures("cache")

DATASET = {
    "n_alphabets": 3,
    "n_characters": 2,
    "n_drawers": 30,
    "size": 16,
    "validation_alphabets": 1,
    "test_alphabets": 1,
    "split": "drawers",
}
DEFORM = {"class_path": "DeformablePCA", "init_args": {"deformations": ["rotation"]}}
STUDY = {
    "study": "latents",
    "dataset": {"class_path": "Glyphs", "init_args": DATASET},
    "arms": {"vae": {}, "guided": {"guidance": [DEFORM]}, "random": {"encoder": "random"}},
    "latent_dims": [3, 6],
    "pretrain": {
        "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
        "kl_warmup": 2,
        "steps": 4,
        "batch_size": 16,
        "validate_every": 4,
    },
    "features": {
        "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
        "steps": 5,
        "batch_size": 16,
    },
    "seeds": [0, 1],
    "samples": 50,
    "resamples": 200,
    "published": [{"name": "others", "source": "A et al.", "errors": {"3": 9.5, "6": 8.25}}],
}


@pytest.fixture(scope="module")
def finished(shared_cache, tmp_path_factory):
    """A study that ran to its end through the command line; nobody may change its folder."""
    base = tmp_path_factory.mktemp("probe")
    (base / "config.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        assert main(["probe", str(base / "config.yaml"), "--output", str(base / "run")]) == 0
        splits = Glyphs(None, **DATASET).splits()
    with np.load(base / "run" / "wrong.npz") as stored:
        wrong = {key: stored[key] for key in stored}
    return SimpleNamespace(
        file=base / "config.yaml",
        folder=base / "run",
        printed=printed.getvalue(),
        results=json.loads((base / "run" / "results.json").read_text()),
        result=LatentsResult.load(base / "run"),
        wrong=wrong,
        splits=splits,
    )


def config_of(file):
    return parse(ProbeConfig, [str(file)], "probe")


def cell_of(run, stem):
    (folder,) = (run / "cells").glob(f"{stem}-*")
    return folder


def row_of(results, arm, latent_dim):
    (row,) = (r for r in results["rows"] if (r["arm"], r["latent_dim"]) == (arm, latent_dim))
    return row


# What a finished study has computed.


@pytest.mark.parametrize("latent_dim", [3, 6])
@pytest.mark.parametrize("arm", ["vae", "guided", "random"])
def test_errors_are_those_of_the_saved_encoders(finished, arm, latent_dim):
    """From the checkpoint alone, standardised by hand."""
    for i, seed in enumerate([0, 1]):
        folder = cell_of(finished.folder, f"model-{arm}-{latent_dim}-seed{seed}")
        encoder = Encoder.load(folder / "encoder.safetensors")
        train, test = (
            embed_bank(encoder, bank) for bank in (finished.splits.train, finished.splits.test)
        )
        centre, scale = train.mean(0), train.std(0, correction=0)
        probe = LogisticRegression(max_iter=1000)
        probe.fit((train - centre) / scale, finished.splits.train.labels)
        predicted = probe.predict((test - centre) / scale)
        expected = predicted != finished.splits.test.labels.numpy()
        found = finished.wrong[f"{arm}|{latent_dim}"][i]
        assert (found != expected).sum() <= 1, "but for one that lies on a boundary"


def test_the_model_is_the_one_that_training_ends_with(finished):
    config = config_of(finished.file)
    arm = config.arms["guided"]
    pretraining = ProbeStudy(config, finished.splits, finished.folder)._pretrain_config(arm, 6)
    trained = pretrain(finished.splits.train, finished.splits.validation, pretraining, seed=1)
    stored = Encoder.load(
        cell_of(finished.folder, "model-guided-6-seed1") / "encoder.safetensors"
    ).state_dict()
    ended = trained.model.vae.encoder.state_dict()
    assert all(torch.equal(stored[name], ended[name]) for name in ended)


def test_an_untrained_arm_is_the_others_beginning(finished):
    config = config_of(finished.file)
    study = ProbeStudy(config, finished.splits, finished.folder)
    pretraining = study._pretrain_config(config.arms["vae"], 3)
    beginning = build_model(pretraining, labelled(finished.splits.train), 1).vae.encoder
    stored = Encoder.load(cell_of(finished.folder, "model-random-3-seed1") / "encoder.safetensors")
    for name, weights in beginning.state_dict().items():
        assert torch.equal(stored.state_dict()[name], weights), name


def test_samples_are_measured_by_the_stored_classifier(finished):
    """FID of one cell again, from its files."""
    splits = finished.splits
    features = Encoder.load(cell_of(finished.folder, "features") / "encoder.safetensors")
    distance = FrechetDistance(features, splits.test.images)
    trained = pretrain(
        splits.train,
        splits.validation,
        ProbeStudy(config_of(finished.file), splits, finished.folder)._pretrain_config(
            config_of(finished.file).arms["vae"], 3
        ),
        seed=0,
    )
    images = Decoder.from_vae(trained.model.vae).sample(50, seed=derive_seed(0, "samples"))
    facts = json.loads((cell_of(finished.folder, "samples-vae-3-seed0") / "cell.json").read_text())
    assert facts["distance"] == pytest.approx(distance(images), rel=1e-3)
    stored = json.loads((cell_of(finished.folder, "features") / "cell.json").read_text())
    training_images = distance(splits.train.images[: len(splits.test)])
    assert stored["training_images"] == pytest.approx(training_images, rel=1e-3)
    assert stored["training_images"] < facts["distance"]
    assert finished.results["features"] == pytest.approx(
        {"error": stored["error"], "training_images": training_images}, abs=1e-4
    )


def idx(values):
    header = bytes([0, 0, 8, values.ndim])
    return header + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def test_what_a_line_can_tell_apart_has_no_error(tmp_path, write, capsys):
    """A small MNIST in which a digit is the place of a bright square: even a random network."""
    rng = np.random.default_rng(0)
    labels = (np.arange(100) % 10).astype(np.uint8)
    images = rng.integers(0, 40, (100, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[7 * (label // 4) :, 7 * (label % 4) :][:7, :7] += 200
    (tmp_path / "mnist").mkdir()
    for name, values in zip(
        mnist.FILES, (images[:70], labels[:70], images[70:], labels[70:]), strict=True
    ):
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    values = copy.deepcopy(STUDY) | {
        "dataset": {"class_path": "MNIST", "init_args": {"validation": 10}},
        "arms": {"vae": {}, "random": {"encoder": "random"}},
        "latent_dims": [32],
        "seeds": [0],
        "published": [],
        "data_root": str(tmp_path),
    }
    assert main(["probe", write(values), "--output", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    row = row_of(results, "random", 32)
    assert (row["error"], row["images"]) == (0, 30)
    assert row["error_ci95_seeds"] is row["fid"] is None
    assert row_of(results, "vae", 32)["fid"] > 0
    assert "published" not in LatentsResult.load(tmp_path / "run").table


# What it reports.


def test_rows_are_the_errors_of_the_cells(finished):
    baseline = {dim: 100.0 * finished.wrong[f"vae|{dim}"] for dim in (3, 6)}
    assert len(finished.results["rows"]) == 6
    for row in finished.results["rows"]:
        name, dim = row["arm"], row["latent_dim"]
        errors = 100.0 * finished.wrong[f"{name}|{dim}"]
        assert errors.shape == (2, row["images"]) == (2, len(finished.splits.test))
        assert row["error"] == pytest.approx(errors.mean(), abs=1e-4)
        half = t.ppf(0.975, 1) * errors.mean(1).std(ddof=1) / 2**0.5
        low, high = row["error_ci95_seeds"]
        assert (high - low) / 2 == pytest.approx(half, abs=1e-3)
        if name == "vae":
            assert row["paired_with"] is row["paired_difference"] is None
            continue
        paired = paired_difference(
            errors, baseline[dim], seed=derive_seed(0, "bootstrap"), resamples=200
        )
        assert row["paired_with"] == "vae"
        assert row["paired_difference"] == pytest.approx(paired.difference, abs=1e-3)
        assert row["paired_difference_ci95"] == pytest.approx(paired.ci95, abs=1e-3)


def test_samples_of_all_seeds_are_averaged(finished):
    for arm in ("vae", "guided"):
        found = [
            json.loads(
                (cell_of(finished.folder, f"samples-{arm}-6-seed{s}") / "cell.json").read_text()
            )
            for s in (0, 1)
        ]
        row = row_of(finished.results, arm, 6)
        assert row["fid"] == pytest.approx(np.mean([f["distance"] for f in found]), abs=1e-3)
        low, high = row["fid_ci95_seeds"]
        assert low < row["fid"] < high
    assert not list((finished.folder / "cells").glob("samples-random-*"))


def test_the_table_is_grouped_by_the_number_of_latents(finished):
    table = (finished.folder / "table.md").read_text()
    assert table == finished.result.table
    assert table in finished.printed
    lines = table.splitlines()
    body = [line.strip("| ").split(" | ") for line in lines[2:10]]
    assert [(cells[0], cells[1]) for cells in body] == [
        *(("vae", "3"), ("guided", "3"), ("random", "3"), ("others, A et al.", "3")),
        *(("vae", "6"), ("guided", "6"), ("random", "6"), ("others, A et al.", "6")),
    ]
    assert (body[3][2], body[7][2]) == ("9.50", "8.25")
    assert body[1][2] == f"{row_of(finished.results, 'guided', 3)['error']:.2f}"
    assert lines[0].count("minus vae") == 1
    assert len({line.count("|") for line in lines[:10]}) == 1
    assert "comparable within this table only" in table


def test_results_say_how_they_were_made(finished):
    results = finished.results
    assert results["versions"].keys() >= {"torch", "scikit-learn", "torchmetrics", "git"}
    assert results["hardware"]["processor"]
    assert results["config"]["latent_dims"] == [3, 6]
    cells = [json.loads(p.read_text()) for p in finished.folder.glob("cells/*/cell.json")]
    assert len(cells) == 1 + 12 + 12 + 8
    assert results["seconds"] == pytest.approx(sum(c["seconds"] for c in cells), abs=0.1)


def test_figure_has_a_line_an_arm(finished):
    result = finished.result
    left, right = latents_figure("latents", result.rows, result.published).axes
    drawn = {line.get_label(): line for line in left.lines if line.get_marker() != "None"}
    assert set(drawn) == {"vae", "guided", "random", "others, A et al."}
    errors = [row_of(finished.results, "guided", dim)["error"] for dim in (3, 6)]
    assert list(drawn["guided"].get_ydata()) == errors
    assert list(drawn["others, A et al."].get_xdata()) == [3, 6]
    assert [line.get_label() for line in right.lines if line.get_marker() != "None"] == [
        "vae",
        "guided",
    ]
    assert (finished.folder / "latents.png").stat().st_size > 5000


def test_tensorboard_and_pictures(finished):
    events = EventAccumulator(str(finished.folder / "tensorboard" / "report"))
    events.Reload()
    assert events.Tags()["images"] == ["latents"]
    assert "table/text_summary" in events.Tags()["tensors"]
    guided = cell_of(finished.folder, "model-guided-6-seed0")
    assert {path.stem for path in guided.glob("*.png")} == {
        "traversals",
        "traversals_light_decoder",
        "traversals_basis",
        "principal_components",
        "samples",
        "reconstructions",
    }


# What it finds again.


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*")}


def test_second_run_computes_nothing(finished, tmp_path, capsys):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (run / "finished.json").unlink()
    before = mtimes(run)
    assert main(["probe", str(finished.file), "--output", str(run)]) == 0
    assert mtimes(run) == before
    assert finished.result.table in capsys.readouterr().out
    again = LatentsResult.load(run)
    assert again.rows == finished.result.rows
    assert again.seconds_reused == again.seconds == finished.result.seconds


def test_another_arm_costs_only_itself(finished, tmp_path, monkeypatch, capsys):
    """And another number of samples only the samples."""
    values = copy.deepcopy(STUDY) | {"seeds": [0], "latent_dims": [3], "published": []}
    run = tmp_path / "run"

    def run_study():
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        assert main(["probe", str(tmp_path / "config.yaml"), "--output", str(run)]) == 0
        return set((run / "cells").iterdir())

    first = run_study()
    values["arms"]["named otherwise"] = {"guidance": [DEFORM]}
    assert run_study() == first, "the same encoder under another name"
    values["samples"] = 60
    added = run_study() - first
    assert {path.name.split("-")[0] for path in added} == {"samples"}
    values["features"]["steps"] = 6
    added = run_study() - first - added
    assert {path.name.split("-")[0] for path in added} == {"features", "samples"}
    capsys.readouterr()


# What is refused before anything is trained.


def put(values, path, value):
    *parents, last = path.split(".")
    for key in parents:
        values = values[int(key) if key.isdigit() else key]
    values[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("arms.vae.latents", ["all"], "latents"),
        ("baseline", "vea", "baseline: no arm is called 'vea'"),
        ("latent_dims", [], "latent_dims: expected numbers of at least 1, got []"),
        ("seeds", [-1], "seeds: expected numbers of at least 0, got [-1]"),
        ("samples", 1, "samples, resamples: expected at least 2 and 1, got 1, 200"),
        ("pretrain.latent_dim", 5, "pretrain.latent_dim: a study has latent_dims instead"),
        ("pretrain.guidance", [DEFORM], "pretrain.guidance: belongs to the arms"),
        ("arms.random.guidance", [DEFORM], "a random encoder cannot be guided"),
        (
            "published",
            [{"name": "others", "errors": {"4": 1.0}}],
            "published.others.errors: '4' is no setting of this study, expected some of 3, 6",
        ),
        ("features.steps", 0, "steps: expected at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(fails, write, path, value, message):
    values = copy.deepcopy(STUDY)
    put(values, path, value)
    assert message in fails("probe", write(values))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("latent_dims", [1, 6], "DeformablePCA: no latent is left for the content"),
        (
            "arms.guided.guidance.0.init_args.deformations",
            ["rotation", "scale", "shear", "translation_x"],
            "guidance: 'translation_x' asks for 1 latents, 0 of latent_dim 3 are left",
        ),
        ("dataset.init_args.split", "alphabets", "training and test images of the same classes"),
        ("arms.guided.guidance.0.init_args.exchange", True, "needs augmentation.views 2, got 1"),
    ],
)
def test_impossible_studies_fail_before_any_training(fails, write, tmp_path, path, value, message):
    values = copy.deepcopy(STUDY)
    put(values, path, value)
    assert message in fails("probe", write(values), writes=True)
    assert not (tmp_path / "must-not-exist" / "cells").exists()
