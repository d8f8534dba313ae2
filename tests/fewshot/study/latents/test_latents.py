"""The study of latents: its numbers, its report, its cells, its refusals."""

import contextlib
import copy
import io
import json
import shutil
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.cli import main
from fewshot.commands.probe import ProbeConfig
from fewshot.config import load
from fewshot.config.load import override
from fewshot.data.dataset import Splits
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.labels import labelled
from fewshot.evaluation import embed_bank
from fewshot.study.latents import LatentsResult, ProbeStudy
from fewshot.study.latents.report import latents_figure, score_images
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.metrics.frechet import FrechetDistance
from guided.seeds import derive_seed
from guided.storage.files import read_json
from guided.training.pretrain import build_model, pretrain
from guided.training.step import Trainer

pytestmark = pytest.mark.usefixtures("cache")

STUDY = yaml.safe_load("""
study: latents
dataset:
  class_path: Glyphs
  init_args:
    {n_alphabets: 3, n_characters: 2, n_drawers: 30, size: 16, validation_alphabets: 1,
     test_alphabets: 1, split: drawers}
arms:
  vae: {}
  guided: {guidance: [{class_path: DeformablePCA, init_args: {deformations: [rotation]}}]}
  random: {encoder: random}
latent_dims: [3, 6]
pretrain:
  {backbone: {class_path: Conv4, init_args: {width: 4}}, kl_warmup: 2, steps: 4, batch_size: 16,
   validate_every: 4}
features: {backbone: {class_path: Conv4, init_args: {width: 4}}, steps: 5, batch_size: 16}
seeds: [0, 1]
samples: 50
published: [{name: others, source: A et al., errors: {"3": 9.5, "6": 8.25}}]
""")
DEFORM = STUDY["arms"]["guided"]["guidance"][0]


@pytest.fixture(scope="module")
def finished(shared_cache, tmp_path_factory):
    """A study that ran to its end through the command line; nobody may change its folder."""
    base = tmp_path_factory.mktemp("probe")
    (base / "config.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        assert main(["probe", str(base / "config.yaml"), "--output", str(base / "run")]) == 0
        splits = Glyphs(None, **STUDY["dataset"]["init_args"]).splits()
    return SimpleNamespace(
        file=base / "config.yaml",
        folder=base / "run",
        printed=printed.getvalue(),
        results=read_json(base / "run" / "results.json"),
        result=LatentsResult.load(base / "run"),
        counts=LatentsResult.load_counts(base / "run"),
        splits=splits,
    )


def cell_of(run, stem):
    (folder,) = (run / "cells").glob(f"{stem}-*")
    return folder


def facts_of(run, stem):
    return json.loads((cell_of(run, stem) / "cell.json").read_text())


def encoder_of(run, stem):
    return Encoder.load(cell_of(run, stem) / "encoder.safetensors")


def row_of(results, arm, latent_dim):
    (row,) = (r for r in results["rows"] if (r["arm"], r["latent_dim"]) == (arm, latent_dim))
    return row


def pretraining_of(arm, latent_dim):
    config = load(ProbeConfig, STUDY)
    guidance = config.arms[arm].guidance
    return replace(config.pretrain, guidance=guidance, latent_dim=latent_dim)


# Numbers of a finished study.


@pytest.mark.parametrize("latent_dim", [3, 6])
@pytest.mark.parametrize("arm", ["vae", "guided", "random"])
def test_errors_are_those_of_the_saved_encoders(finished, arm, latent_dim):
    """From the checkpoint alone, standardised by hand."""
    train, test = finished.splits.train, finished.splits.test
    for i, seed in enumerate([0, 1]):
        encoder = encoder_of(finished.folder, f"model-{arm}-{latent_dim}-seed{seed}")
        table = embed_bank(encoder, train)
        centre, scale = table.mean(0), table.std(0, correction=0)
        probe = LogisticRegression(max_iter=1000).fit((table - centre) / scale, train.labels)
        predicted = probe.predict((embed_bank(encoder, test) - centre) / scale)
        found = finished.counts.wrong[arm, str(latent_dim)][i]
        different = found != (predicted != test.labels.numpy())
        assert different.sum() <= 1, "but for one that lies on a boundary"


def test_models_are_those_that_training_begins_and_ends_with(finished):
    splits = finished.splits
    trained = pretrain(splits.train, splits.validation, pretraining_of("guided", 6), seed=1)
    beginning = build_model(pretraining_of("vae", 3), labelled(splits.train), 1)
    for stem, vae in (("guided-6", trained.model.vae), ("random-3", beginning.vae)):
        stored = encoder_of(finished.folder, f"model-{stem}-seed1").state_dict()
        for name, weights in vae.encoder.state_dict().items():
            assert torch.equal(stored[name], weights), (stem, name)


def test_samples_are_measured_by_the_stored_classifier(finished):
    """FID of one cell again, from its files."""
    splits, run = finished.splits, finished.folder
    distance = FrechetDistance(encoder_of(run, "features"), splits.test.images)
    trained = pretrain(splits.train, splits.validation, pretraining_of("vae", 3), seed=0)
    images = Decoder.from_vae(trained.model.vae).sample(50, seed=derive_seed(0, "samples"))
    found = facts_of(run, "samples-vae-3-seed0")["distance"]
    assert found == pytest.approx(distance(images), rel=1e-3)
    stored = facts_of(run, "features")
    n, every = len(splits.test), len(splits.train)
    spread = [position * (every - 1) // (n - 1) for position in range(n)]  # from all classes
    assert splits.train.labels[spread].unique().numel() == splits.train.n_classes
    training_images = distance(splits.train.images[spread])
    assert stored["training_images"] == pytest.approx(training_images, rel=1e-3)
    assert stored["training_images"] < found
    assert finished.results["features"] == pytest.approx(
        {"error": stored["error"], "training_images": training_images}, abs=1e-4
    )


def test_what_a_line_can_tell_apart_has_no_error(make_bank, tmp_path):
    """Even behind a random network; the classes are patterns with hardly any noise."""
    whole, rows = make_bank(5, 32, noise=5), torch.arange(5 * 32).view(5, 32)
    banks = [whole.rows(part.flatten()) for part in rows.split([20, 6, 6], 1)]
    small = {"arms": {"vae": {}, "random": {"encoder": "random"}}, "latent_dims": [32]}
    config = load(ProbeConfig, STUDY | small | {"seeds": [0], "published": []})
    result = ProbeStudy(config, Splits(*banks), tmp_path).result()
    vae, random = result.rows
    assert (random.arm, random.error, random.images) == ("random", 0, 30)
    assert random.error_ci95 == (0, 0)
    assert random.fid is None
    assert vae.fid > 0
    assert "published" not in result.table


# Its report.


def test_rows_are_the_errors_of_the_cells(finished, crossed_interval):
    def errors_of(arm, dim):
        return 100.0 * finished.counts.wrong[arm, str(dim)]

    assert len(finished.results["rows"]) == 6
    for row in finished.results["rows"]:
        name, dim = row["arm"], row["latent_dim"]
        errors = errors_of(name, dim)
        assert errors.shape == (2, row["images"]) == (2, len(finished.splits.test))
        assert row["error"] == pytest.approx(errors.mean(), abs=1e-4)
        assert row["error_ci95"] == pytest.approx(crossed_interval(errors), abs=1e-4)
        assert [pair["partner"] for pair in row["pairs"]] == ["vae"] * (name != "vae")
        for pair in row["pairs"]:
            differences = errors - errors_of("vae", dim)
            assert pair["difference"] == pytest.approx(differences.mean(), abs=1e-4)
            assert pair["ci95"] == pytest.approx(crossed_interval(differences), abs=1e-4)
            assert pair["ci95_new_classes"] is None


def test_rows_are_scored_again_from_the_file(finished):
    result, counts = finished.result, finished.counts
    assert result.rescored(counts).rows == result.rows
    unscored = [replace(row, error=99.0, error_ci95=None) for row in result.rows]
    assert score_images(unscored, counts) == list(result.rows)


def test_one_command_reports_again(finished, tmp_path, capsys, read_page):
    source = finished.folder / "results.json"
    assert main(["report", str(source), "--output", str(tmp_path / "again")]) == 0
    assert f"all 6 rows are those of {source}" in capsys.readouterr().out
    for name in ("table.md", "latents.png", "wrong.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (finished.folder / name).read_bytes()
    ours, again = (read_page(f / "report.html") for f in (finished.folder, tmp_path / "again"))
    assert ours.tables == again.tables and len(ours.tables[0]) == 9
    again = LatentsResult.load(tmp_path / "again")
    assert again.summary(100) in unescape(again._repr_html_())
    assert again.to_json() == finished.results


def test_samples_of_all_seeds_are_averaged(finished):
    for arm in ("vae", "guided"):
        cells = [f"samples-{arm}-6-seed{seed}" for seed in (0, 1)]
        found = [facts_of(finished.folder, cell)["distance"] for cell in cells]
        row = row_of(finished.results, arm, 6)
        assert row["fid"] == pytest.approx(np.mean(found), abs=1e-3)
        interval = scipy.stats.ttest_1samp(found, 0).confidence_interval(0.95)
        assert row["fid_ci95_seeds"] == pytest.approx(interval, abs=1e-3)
    assert not list((finished.folder / "cells").glob("samples-random-*"))


def test_the_table_is_grouped_by_the_number_of_latents(finished):
    table = (finished.folder / "table.md").read_text()
    assert table == finished.result.table
    assert str(finished.result) in finished.printed
    lines = table.splitlines()
    body = [line.strip("| ").split(" | ") for line in lines[2:10]]
    names = ["vae", "guided", "random", "others, A et al."]
    assert [cells[:2] for cells in body] == [[name, dim] for dim in "36" for name in names]
    assert (body[3][2], body[7][2]) == ("9.50", "8.25")
    assert body[1][2] == f"{row_of(finished.results, 'guided', 3)['error']:.2f}"
    pair = row_of(finished.results, "guided", 3)["pairs"][0]
    assert f"| guided | 3 | vae | {pair['difference']:+.2f} " in table
    assert "comparable within this table only" in table


def test_files_of_a_finished_run(finished):
    results, folder = finished.results, finished.folder
    assert results["versions"].keys() >= {"torch", "scikit-learn", "torchmetrics", "git"}
    assert results["hardware"]["processor"]
    assert results["config"]["latent_dims"] == [3, 6]
    cells = [read_json(p) for p in folder.glob("cells/*/cell.json")]
    assert len(cells) == 1 + 12 + 12 + 8
    assert results["revisions"] == sorted({r for cell in cells for r in cell["revisions"]})
    assert results["seconds"] == pytest.approx(sum(c["seconds"] for c in cells), abs=0.1)
    events = EventAccumulator(str(folder / "_report"))
    events.Reload()
    assert events.Tags()["images"] == ["latents"]
    assert "table/text_summary" in events.Tags()["tensors"]
    pictures = {path.stem for path in cell_of(folder, "model-guided-6-seed0").glob("*.png")}
    assert pictures >= {"traversals", "traversals_light_decoder", "samples", "reconstructions"}
    assert (folder / "latents.png").stat().st_size > 5000


def test_figure_has_a_line_an_arm(finished):
    result = finished.result
    left, right = latents_figure("latents", result.rows, result.published).axes
    drawn = {line.get_label(): line for line in left.lines if line.get_marker() != "None"}
    assert set(drawn) == {"vae", "guided", "random", "others, A et al."}
    errors = [row_of(finished.results, "guided", dim)["error"] for dim in (3, 6)]
    assert list(drawn["guided"].get_ydata()) == errors
    assert list(drawn["others, A et al."].get_xdata()) == [3, 6]
    fid = {line.get_label() for line in right.lines if line.get_marker() != "None"}
    assert fid == {"vae", "guided"}


# Its cells.


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*")}


def test_second_run_computes_nothing(finished, tmp_path, capsys):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (run / "finished.json").unlink()
    before = mtimes(run)
    assert main(["probe", str(finished.file), "--output", str(run)]) == 0
    assert mtimes(run) == before
    assert str(finished.result) in capsys.readouterr().out
    again = LatentsResult.load(run)
    assert again.rows == finished.result.rows
    assert again.seconds_reused == again.seconds == finished.result.seconds


def test_another_arm_costs_only_itself(write, tmp_path, capsys):
    """And another number of samples only the samples."""
    values = copy.deepcopy(STUDY) | {"seeds": [0], "latent_dims": [3], "published": []}
    run = tmp_path / "run"

    def added(before):
        assert main(["probe", write(values), "--output", str(run)]) == 0
        return set((run / "cells").iterdir()) - before

    first = added(set())
    values["arms"]["named otherwise"] = {"guidance": [DEFORM]}
    assert added(first) == set(), "the same encoder under another name"
    values["samples"] = 60
    second = added(first)
    assert {path.name.split("-")[0] for path in second} == {"samples"}
    values["features"]["steps"] = 6
    assert {path.name.split("-")[0] for path in added(first | second)} == {"features", "samples"}


def curve(**changes):
    values = copy.deepcopy(STUDY) | {"latent_dims": [3], "seeds": [0], "steps": [2, 4]} | changes
    values["pretrain"] |= {"validate_every": 2}
    values["published"] = [{"name": "others", "source": "A et al.", "errors": {"3": 9.5}}]
    return values


def test_longer_trainings_continue_shorter_ones(write, tmp_path, monkeypatch, capsys):
    """And end with the bits of a training of that length."""
    run, done = tmp_path / "run", []
    step = Trainer.step

    def counted(self, number):
        done.append(number)
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", counted)
    assert main(["probe", write(curve()), "--output", str(run)]) == 0
    assert done == [0, 1, 2, 3] * 2, "two arms are trained, from the first step to the last"
    assert not list((run / "cells").glob("*/state.pt"))
    splits = Glyphs(None, **STUDY["dataset"]["init_args"]).splits()
    for steps in (2, 4):
        config = replace(load(ProbeConfig, curve()).pretrain, latent_dim=3, steps=steps)
        trained = pretrain(splits.train, splits.validation, config, seed=0)
        stored = encoder_of(run, f"model-vae-3-{steps}-seed0").state_dict()
        for name, weights in trained.model.vae.encoder.state_dict().items():
            assert torch.equal(stored[name], weights), (steps, name)

    result = LatentsResult.load(run)
    assert [(row.arm, row.steps) for row in result.rows] == [
        (arm, steps) for arm in ("guided", "random", "vae") for steps in (2, 4)
    ]
    assert set(LatentsResult.load_counts(run).wrong) == {row.key for row in result.rows}
    short, long = (row for row in result.rows if row.arm == "random")
    assert (short.error, short.fid) == (long.error, None), "an untrained network has one error"
    assert "| arm | latents | steps | error % |" in result.table
    assert f"| guided | 3 | 4 | vae | {result.rows[1].pairs[0].difference:+.2f} |" in result.table
    assert (run / "curve.png").stat().st_size > 5000
    left, _ = latents_figure("curve", result.rows, result.published).axes
    drawn = {line.get_label(): line for line in left.lines if line.get_marker() == "o"}
    assert list(drawn["guided"].get_ydata()) == [row.error for row in result.rows[:2]]
    assert left.get_xlabel() == "training steps"
    assert main(["report", str(run), "--output", str(tmp_path / "again")]) == 0
    assert "all 6 rows are those of" in capsys.readouterr().out
    assert (tmp_path / "again" / "curve.png").exists()


# Its refusals, before anything is trained.

FOUR = ["rotation", "scale", "shear", "translation_x"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arms.vae.latents", ["all"], "arms.vae.latents: no such key"),
        ("baseline", "vea", "baseline: no arm is called 'vea'"),
        ("latent_dims", [], "latent_dims: at least one is needed"),
        ("seeds", [-1], "seeds.0: expected at least 0, got -1"),
        ("seeds", [1, 1], "seeds: [1, 1] holds one twice"),
        ("samples", 1, "samples: expected at least 2, got 1"),
        ("pretrain.latent_dim", 5, "pretrain.latent_dim: a study has latent_dims instead"),
        ("pretrain.guidance", [DEFORM], "pretrain.guidance: belongs to the arms"),
        ("arms.random.guidance", [DEFORM], "guidance: a random encoder is not trained"),
        ("published", [{"name": "o", "errors": {"4": 1.0}}], "published.o.errors: '4' is no"),
        ("features.steps", 0, "steps: expected at least 1, got 0"),
        ("latent_dims", [1, 3, 6], "DeformablePCA: no latent is left for the content"),
        ("arms.guided.guidance.0.init_args.deformations", FOUR, "0 of latent_dim 3 are left"),
        ("dataset.init_args.split", "alphabets", "training and test images of the same classes"),
        ("arms.guided.guidance.0.init_args.exchange", True, "needs augmentation.views 2, got 1"),
    ],
)
def test_impossible_studies(fails, write, tmp_path, key, value, message):
    values = copy.deepcopy(STUDY)
    override(values, key, value)
    assert message in fails("probe", write(values), writes=True)
    assert not (tmp_path / "must-not-exist" / "cells").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", [4, 2], "steps: expected ascending numbers, got [4, 2]"),
        ("steps", [3, 4], "steps: 3 is no multiple of pretrain.validate_every (2)"),
        ("pretrain.schedule", "cosine", "pretrain.schedule: constant, got cosine"),
        ("pretrain.patience", 1, "steps: needs pretrain.patience 0"),
    ],
)
def test_lengths_that_cannot_be_continued(fails, write, key, value, message):
    values = curve()
    override(values, key, value)
    assert message in fails("probe", write(values))


@pytest.mark.usefixtures("cache")
def test_rows_are_reproduced_cell_by_cell(finished, tmp_path, capsys):
    """In a copy of the folder, whose cells are there."""
    shutil.copytree(finished.folder / "cells", tmp_path / "cells")
    arguments = [str(finished.folder), "--output", str(tmp_path), "--cells", "99"]
    assert main(["reproduce", "--check", *arguments]) == 0
    assert "all 12 cells are the published ones to the bit" in capsys.readouterr().out
