"""``fewshot lake``: a study's encoders on Lake's task, its files, its refusals."""

import contextlib
import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fewshot.cli import main
from fewshot.config import load
from fewshot.data.omniglot import dataset as omniglot
from fewshot.data.omniglot.dataset import Omniglot
from fewshot.study.config import StudyConfig
from fewshot.study.lake.report import PUBLISHED, LakeResult
from fewshot.study.lake.run import LakeStudy
from fewshot.study.lake.runs import draw_runs, read_runs
from guided.backbones import Pixels
from guided.encoder import Encoder

# Alphabet -> characters; 20 of one are what a run needs.
PARTS = {
    "images_background": {"Latin": 4, "Greek": 4, "Hebrew": 4},
    "images_evaluation": {"Angelic": 20, "Tengwar": 22, "Oriya": 3},
}
DRAWERS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small Omniglot; a character is a pattern, a drawer spoils some of it."""
    root = tmp_path_factory.mktemp("data") / "omniglot"
    rng = np.random.default_rng(0)
    for part, alphabets in PARTS.items():
        for alphabet, n in alphabets.items():
            for character in range(1, n + 1):
                pattern = rng.random((7, 7)) < 0.6
                folder = root / part / alphabet / f"character{character:02}"
                folder.mkdir(parents=True)
                for drawer in range(1, DRAWERS + 1):
                    paper = pattern ^ (rng.random((7, 7)) < 0.15)
                    image = Image.fromarray(paper.repeat(15, 0).repeat(15, 1))
                    image.save(folder / f"{character:04}_{drawer:02}.png")
    return root.parent


@pytest.fixture(scope="module", autouse=True)
def complete():
    """The small Omniglot passes for complete."""
    with pytest.MonkeyPatch.context() as patch:
        counts = {part: DRAWERS * sum(sizes.values()) for part, sizes in PARTS.items()}
        patch.setattr(omniglot, "PARTS", counts)
        yield


STUDY = yaml.safe_load("""
study: tiny
dataset: {class_path: Omniglot, init_args: {split: lake, size: 16, validation_alphabets: 1}}
arms:
  pixels: {encoder: pixels}
  vae: {}
  guided:
    guidance:
    - {class_path: ExcitationInhibition, init_args: {attributes: {class: 4}, excitation: 10}}
    latents: [all, class]
learners:
  prototypical: {learner: {class_path: Prototypical}}
  five:
    learner: {class_path: MAML, init_args: {n_way: 3}}
    train:
      {setting: &shape {n_way: 3, n_shot: 1, n_query: 1}, validation: *shape, steps: 1,
       validation_episodes: 2, validate_every: 1}
  ridge: {learner: {class_path: Ridge}}
pretrain:
  {backbone: {class_path: Conv4, init_args: {width: 8}}, latent_dim: 8, kl_warmup: 2, steps: 6,
   batch_size: 16, validate_every: 3}
settings: [{n_way: 3, n_shot: 1, n_query: 2}]
seeds: [0, 1]
episodes: 5
selection_episodes: 5
""")
CONDITIONS = [("pixels", "all"), ("vae", "all"), ("guided", "all"), ("guided", "class")]
PROTOTYPICAL = {"prototypical": STUDY["learners"]["prototypical"]}


def quiet(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert main([str(argument) for argument in arguments]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def done(data, shared_cache, tmp_path_factory):
    """``fewshot compare``, then ``fewshot lake`` in its folder, which computes no cell anew."""
    base = tmp_path_factory.mktemp("study")
    file, run = base / "config.yaml", base / "run"
    file.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    arguments = (file, "--output", run, "--data_root", data)

    def cells():
        return {f.parent.name: f.stat().st_mtime_ns for f in run.glob("cells/*/cell.json")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        quiet("compare", *arguments)
        config, before = (run / "config.yaml").read_text(), cells()
        printed = quiet("lake", *arguments, "--drawn", "6", "--run_seed", "4")
        assert (run / "config.yaml").read_text() == config, "compare can go on from it"
        classified = cells()
        assert before.items() <= classified.items(), "the study was not computed again"
        assert all(name.startswith("lake-") for name in classified.keys() - before.keys())
        first = json.loads((run / "lake.json").read_text())
        (run / "lake.finished.json").unlink()
        quiet("lake", run / "lake.yaml")
        assert cells() == classified
    results = json.loads((run / "lake.json").read_text())
    assert results["rows"] == first["rows"]
    return SimpleNamespace(run=run, printed=printed, results=results)


@pytest.fixture
def splits(data, cache):
    options = STUDY["dataset"]["init_args"]
    return Omniglot(data, **options).splits()


def test_rows_print_files_and_log_agree(done):
    results, rows = done.results, done.results["rows"]
    title = "runs drawn like Lake's from the evaluation characters; not his: 6 runs, 120 trials"
    assert title in done.printed
    assert "Lake's own runs are not found, so drawn ones alone are used; get all_" in done.printed
    (names,) = [runs["names"] for kind, runs in results["runs"].items() if kind == "drawn"]
    assert len(names) == 6
    assert all(name.startswith(("Angelic", "Tengwar")) for name in names)
    assert "five: left out, MAML.n_way is 3, Lake's task is 20-way" in done.printed
    table = (done.run / "lake.md").read_text()
    assert str(LakeResult.load(done.run)) in done.printed
    assert "| people (Lake et al. 2015) | 4.5 |" in table
    expected = {(*c, learner) for c in CONDITIONS for learner in ("prototypical", "ridge")}
    assert {(row["arm"], row["latents"], row["learner"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        assert (row["source"], row["runs"], row["trials"]) == ("drawn", 6, 120)
        assert row["seeds"] == [0, 1]
        assert len(row["error_by_seed"]) == 2
        low, high = row["error_ci95"]
        assert low < row["error"] < high
        assert [pair["partner"] for pair in row["pairs"]] == ["vae"] * (row["arm"] != "vae")
        assert (
            f", {row['learner']} | – | – | {row['error']:.2f} | {low:.2f} … {high:.2f} |" in table
        )
    assert results["published"] == [figures.to_json() for figures in PUBLISHED]
    assert results["versions"]["torch"]
    assert results["hardware"]["processor"]
    assert results["seconds"] > 0
    assert results["config"]["drawn"] == 6
    pictures = {"lake", "lake/pixels", "lake/vae", "lake/guided"}
    for name in pictures:
        with Image.open(done.run / f"{name}.png") as picture:
            assert picture.width > 500
    log = EventAccumulator(str(done.run / "_lake")).Reload()
    assert set(log.Tags()["images"]) == pictures
    assert len(list((done.run / "_lake").iterdir())) == 1


def test_a_learner_that_is_left_out_is_not_trained(splits, tmp_path):
    runs = [draw_runs(splits.test, 2, 0)]
    study = LakeStudy(load(StudyConfig, STUDY), splits, runs, tmp_path, say=lambda _: None)
    study.plan()
    planned = {task.cell.name.rpartition("-")[0] for task in study.cells.tasks.values()}
    assert "lake-drawn-vae-seed0-all-ridge" in planned
    assert not any("five" in name for name in planned)


def test_one_command_reports_again(done, tmp_path, read_page):
    printed = quiet("report", done.run / "lake.json", "--output", tmp_path / "again")
    assert f"all 8 rows are those of {done.run / 'lake.json'}" in printed
    for name in ("lake.json", "lake.md", "lake.png", "lake.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (done.run / name).read_bytes()
    # A folder in which lake alone was run.
    (tmp_path / "alone").mkdir()
    for name in ("lake.json", "lake.npz"):
        shutil.copy(done.run / name, tmp_path / "alone")
    printed = quiet("report", tmp_path / "alone", "--output", tmp_path / "third")
    assert "all 8 rows are those of" in printed
    ours, again = (read_page(f / "lake.html") for f in (done.run, tmp_path / "again"))
    assert ours.tables == again.tables
    assert (len(ours.alts), len(again.alts)) == (4, 1), "counts give no contact sheets"
    assert any("people (Lake et al. 2015)" in row[0] for row in ours.tables[0])


def test_errors_are_those_of_the_saved_encoders(done, splits):
    """Recomputed from the checkpoints alone: the nearest training image, run by run."""
    runs = draw_runs(splits.test, 6, 4).episodes
    rows = [row for row in done.results["rows"] if row["learner"] == "prototypical"]
    for row, seed in ((row, seed) for row in rows for seed in (0, 1)):
        (folder,) = (done.run / "cells").glob(f"encoder-{row['arm']}-seed{seed}-*")
        encoder = Encoder.load(folder / "encoder.safetensors", row["latents"])
        wrong = 0
        with torch.no_grad():
            for images in zip(runs.query, runs.support, strict=True):
                nearest = torch.cdist(*(encoder(part.flatten(0, 1)) for part in images)).argmin(1)
                wrong += int((nearest != torch.arange(20)).sum())
        assert row["error_by_seed"][seed] == pytest.approx(100 * wrong / 120, abs=1e-3)
        assert row["arm"] != "pixels" or row["error"] < 80, "better than chance"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("where", ["found", "named"])
def test_lakes_own_runs_and_drawn_ones(data, lake_folder, tmp_path, write, where):
    """Pixels tell the archive's characters apart; random networks do not always."""
    arms = {"pixels": {"encoder": "pixels"}, "random": {"encoder": "random"}}
    config = STUDY | {"arms": arms, "baseline": "pixels", "seeds": [0], "learners": PROTOTYPICAL}
    root = tmp_path / "data"
    root.mkdir()
    (root / "omniglot").symlink_to(data / "omniglot")
    archive = tmp_path / "elsewhere.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", lake_folder)
    named = ("--archive", archive)
    if where == "found":
        (root / "all_runs").symlink_to(lake_folder)
        named = ()
    run = tmp_path / "run"
    arguments = ("lake", write(config), "--output", run, "--data_root", root, *named)
    printed = quiet(*arguments, "--drawn", 4)
    assert "Lake's own runs: 20 runs, 400 trials" in printed
    assert "not his: 4 runs, 80 trials" in printed
    results = json.loads((run / "lake.json").read_text())
    pixels, random, *drawn = results["rows"]
    assert [row["source"] for row in results["rows"]] == ["own", "own", "drawn", "drawn"]
    assert (pixels["error"], pixels["error_by_seed"]) == (0, [0])
    assert pixels["error_ci95"] == pytest.approx([0, 0.951], abs=1e-3), "Wilson's"
    assert 0 < random["error"] < 95
    assert results["runs"]["own"]["images"] == read_runs(archive, 16).digest
    # The same encoders serve both; each kind alone gives the same rows.
    assert len(list(run.glob("cells/encoder-*"))) == 2
    cells = set(run.glob("cells/*"))
    for kind, rows in (("own", [pixels, random]), ("drawn", drawn)):
        given = () if kind == "drawn" else named
        count = ("--drawn", 4) if kind == "drawn" else ()
        quiet(*arguments[:6], *given, "--runs", f"[{kind}]", *count)
        alone = json.loads((run / "lake.json").read_text())["rows"]
        assert [row | {"pairs": []} for row in alone] == [row | {"pairs": []} for row in rows]
    assert set(run.glob("cells/*")) == cells


@pytest.fixture
def refused(fails, write, data, tmp_path):
    def run(config, *arguments, **options):
        values = [str(argument) for argument in arguments]
        if "--data_root" not in values:
            values += ["--data_root", str(data)]
        line = fails("lake", write(STUDY | config), *values, **options)
        assert not (tmp_path / "must-not-exist" / "cells").exists(), "before anything is computed"
        return line

    return run


def omniglot_with(**init_args):
    return {"dataset": {"class_path": "Omniglot", "init_args": init_args}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dataset": {"class_path": "Glyphs"}}, "dataset: Lake's task needs Omniglot, got Glyphs"),
        (omniglot_with(split="random"), "Omniglot.split: random trains on some of the characters"),
        (omniglot_with(split="vinyals"), "Omniglot.split: vinyals trains on"),
        (omniglot_with(rotations="all"), "Omniglot.rotations: all turns test characters"),
        ({"learners": {"five": STUDY["learners"]["five"]}}, "learners: none answers 20-way"),
        ({"drawn": 0}, "drawn: expected at least 1, got 0"),
        ({"run_seed": -1}, "run_seed: expected at least 0, got -1"),
        ({"runs": []}, "runs: expected own, drawn or both, got []"),
        ({"runs": ["own", "own"]}, "runs: expected own, drawn or both"),
        ({"runs": ["his"]}, "runs.0: expected one of own, drawn, got his"),
        ({"runs": ["own", "drawn"]}, "runs: own, but no all_runs.zip in"),
        ({"archive": "nowhere.zip"}, "archive: nowhere.zip not found"),
        ({"archive": "x.zip", "runs": ["drawn"]}, "archive: x.zip holds Lake's own runs, which"),
        ({"runs": ["own"], "drawn": 40}, "drawn, run_seed: for drawn runs, which runs leaves out"),
        ({"runs": ["own"], "run_seed": 1}, "drawn, run_seed: for drawn runs"),
    ],
)
def test_impossible_settings_before_anything_is_read(refused, monkeypatch, config, message):
    """Also data whose test characters could have been seen in training."""
    monkeypatch.setattr(Omniglot, "splits", None)
    assert message in refused(config)


@pytest.mark.usefixtures("cache")
def test_images_without_runs_before_anything_is_trained(
    refused, lake_folder, tmp_path, data, monkeypatch
):
    broken = shutil.copytree(lake_folder, tmp_path / "broken")
    (broken / "run05" / "test" / "item11.png").unlink()
    line = refused({}, "--archive", broken)
    assert "broken/run05/test/item11.png: missing" in line
    root = tmp_path / "data" / "omniglot"
    shutil.copytree(data / "omniglot", root)
    for character in ("Angelic/character05", *(f"Tengwar/character0{c}" for c in (5, 6, 7))):
        shutil.rmtree(root / "images_evaluation" / character)
    monkeypatch.setitem(omniglot.PARTS, "images_evaluation", DRAWERS * 41)
    line = refused({}, "--data_root", root.parent)
    assert "runs: no alphabet of the test set has 20 characters" in line


# Encoders from files.


@pytest.fixture
def from_file(tmp_path):
    """A study of one encoder from a file; ``trained_on`` is what the file says about its data."""

    def make(**trained_on):
        path = tmp_path / "encoder.safetensors"
        Encoder(Pixels((1, 16, 16)), None).save(path, **trained_on)
        arms = {"mine": {"encoder": "checkpoint", "checkpoint": str(path)}}
        return {"arms": arms, "baseline": "mine", "seeds": [0], "learners": PROTOTYPICAL}

    return make


RANDOM_SPLIT = {"class_path": "Omniglot", "init_args": {"split": "random"}}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_an_encoder_that_may_have_seen_the_characters(refused, from_file, command):
    """As each command writes it."""
    facts = {"dataset": RANDOM_SPLIT}
    line = refused(from_file(**(facts if command == "pretrain" else {"config": facts})))
    assert re.search("arms.mine.checkpoint: .* was trained on Omniglot's split random", line)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("says", [True, False])
def test_any_encoder(from_file, data, write, tmp_path, says):
    config = STUDY | from_file(**({"dataset": STUDY["dataset"]} if says else {}))
    run = tmp_path / "run"
    printed = quiet("lake", write(config), "--output", run, "--data_root", data, "--drawn", 3)
    unsaid = "encoder.safetensors does not record on which characters it was trained"
    assert (unsaid in printed) == (not says)
    (row,) = json.loads((run / "lake.json").read_text())["rows"]
    assert row["encoder"] == "checkpoint"
    assert 0 < row["error"] < 80, "better than chance"


@pytest.mark.usefixtures("cache")
def test_the_task_is_reproduced_cell_by_cell_and_whole(done, data, tmp_path, capsys):
    """In a copy of the folder, whose cells are there; by counts, and by errors of seeds alone."""
    shutil.copytree(done.run / "cells", tmp_path / "again" / "cells")
    shutil.copy(done.run / "lake.json", tmp_path / "task.json")
    arguments = [str(tmp_path / "task.json"), "--data_root", str(data)]
    arguments += ["--output", str(tmp_path / "again")]
    cells = 2 * len(done.results["rows"])
    assert main(["reproduce", "--check", *arguments, "--cells", "99"]) == 0
    assert f"all {cells} cells are the published ones to the bit" in capsys.readouterr().out
    shutil.copy(done.run / "lake.npz", tmp_path / "task.npz")
    assert main(["reproduce", "--check", *arguments, "--cells", "99"]) == 0
    assert f"all {cells} cells are the published ones to the bit" in capsys.readouterr().out
    assert main(["reproduce", *arguments]) == 0
    assert f"all {cells // 2} rows are the published ones to" in capsys.readouterr().out
