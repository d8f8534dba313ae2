"""Run folders: finished runs, superseded results, trainings that go on."""

import importlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import fewshot.meta_train
import fewshot.runs
from fewshot.cli import main
from fewshot.runs import LAKE, keep_configuration, only_one, open_run
from guided.encoder import Encoder
from guided.errors import InputError
from guided.training.step import Trainer

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def _same_versions(monkeypatch):
    """The revision of the source may change while the tests run."""
    monkeypatch.setattr(fewshot.runs, "versions", lambda: {"torch": "2"})


def computed(*_, **__):
    raise AssertionError("computed again")


# Finished runs.


@pytest.mark.parametrize("command", ["evaluate", "pretrain", "train", "probe", "compare"])
def test_a_finished_run_says_so_and_computes_nothing(run_small, command, monkeypatch, tmp_path):
    first = run_small(command)
    assert "finished before" not in first
    with monkeypatch.context() as patch:
        patch.setattr(f"fewshot.commands.{command}.open_run", computed)
        again = run_small(command)
    *words, last = again.splitlines()
    assert last == f"finished before; results in {tmp_path / 'run'}"
    assert words
    assert all(line in first for line in words)


@pytest.fixture
def tested(tmp_path, small_configs, encoder):
    """The configuration of an evaluation of an encoder, on a folder of images that are noise."""
    rng = np.random.default_rng(0)
    for name in ("train/a", "val/b", "test/c", "test/d", "test/e"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    encoder.save(tmp_path / "encoder.safetensors")
    images = {"path": str(tmp_path / "images"), "size": 16}
    small_configs["evaluate"] |= {
        "dataset": {"class_path": "ImageFolder", "init_args": images},
        "encoder": str(tmp_path / "encoder.safetensors"),
    }


def another_image(tmp_path, _):
    image = tmp_path / "images" / "test" / "c" / "0.png"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(image)


def another_version(_, monkeypatch):
    monkeypatch.setattr(fewshot.runs, "versions", lambda: {"torch": "0.1"})


def another_encoder(tmp_path, _):
    encoder = Encoder.load(tmp_path / "encoder.safetensors")
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    encoder.save(tmp_path / "encoder.safetensors")


def no_results(tmp_path, _):
    (tmp_path / "run" / "episodes.npz").unlink()


def no_mark(tmp_path, _):
    (tmp_path / "run" / "finished.json").write_text("{")


CHANGES = [another_image, another_version, another_encoder, no_results, no_mark]


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_not_finished_after(run_small, tested, tmp_path, monkeypatch, change):
    run_small("evaluate")
    assert "finished before" in run_small("evaluate")
    change(tmp_path, monkeypatch)
    assert "finished before" not in run_small("evaluate")
    assert "finished before" in run_small("evaluate")


def test_checkpoints_of_a_study_count_by_their_content(run_small, small_configs, tmp_path, encoder):
    """``{seed}`` in a path stands for any seed, also in the name of a folder."""
    (tmp_path / "seed0").mkdir()
    encoder.save(tmp_path / "seed0" / "e.safetensors")
    pattern = str(tmp_path / "seed{seed}" / "e.safetensors")
    small_configs["compare"]["arms"] = {"vae": {"encoder": "checkpoint", "checkpoint": pattern}}
    run_small("compare")
    assert "finished before" in run_small("compare")
    encoder.save(tmp_path / "seed0" / "e.safetensors", note="the same weights in another file")
    assert "finished before" not in run_small("compare")


@pytest.mark.parametrize("command", ["pretrain", "train", "evaluate"])
def test_another_number_of_threads_is_another_result(run_small, command, tmp_path):
    """Neither a finished run nor the state of a training counts for it."""
    for number in (1, 2):
        assert "finished before" not in run_small(command, "--threads", str(number))
        assert "finished before" in run_small(command, "--threads", str(number))
        states = list((tmp_path / "run").glob("cells/*/state-*.pt"))
        assert len(states) == (0 if command == "evaluate" else number)


def test_threads_are_at_least_one(fails, write, small_configs):
    said = fails("evaluate", write(small_configs["evaluate"]), "--threads", "0")
    assert "threads: expected at least 1, got 0" in said


# Superseded results.


@dataclass(frozen=True)
class Config:
    steps: int = 3
    seeds: tuple[int, ...] = (0, 1)
    output: Path | None = None
    device: str = "auto"


def test_a_run_folder_says_what_was_asked_for_and_where(tmp_path):
    folder = tmp_path / "a" / "b"
    open_run(folder, Config(5), "cpu")
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written == {"steps": 5, "seeds": [0, 1], "output": None, "device": "auto"}
    facts = json.loads((folder / "environment.json").read_text())
    assert facts["hardware"]["threads"] == torch.get_num_threads()
    assert facts["versions"]["torch"]
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"^output: .*file.* cannot be created"):
            open_run(output, Config(), "cpu")


REPORTS = ["results.json", "table.md", "episodes.npz", "errors.png", "encoder.safetensors"]
REPORTS += ["episodes/vae.png", "lake.yaml", "lake.json", "lake/vae.png", "finished.json"]
SHARED = ["cells/encoder-0123456789abcdef/cell.json", "notes.txt", "figures/mine.png"]
SHARED += ["vae/seed0/events.out.tfevents.1"]
REMADE = ["_report/events.out.tfevents.1", "_lake/events.out.tfevents.1"]
REMADE += ["vae/seed0/events.out.tfevents.2.report", "vae/seed0/projector_config.pbtxt"]


def fill(folder, text, names=REPORTS):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def used(tmp_path):
    """A run folder with results of a configuration, and with what belongs to none."""
    open_run(tmp_path / "run", Config(), "cpu")
    fill(tmp_path / "run", "first")
    fill(tmp_path / "run", "shared", SHARED)
    fill(tmp_path / "run", "remade", REMADE)
    return tmp_path / "run"


def generation(folder, n):
    return folder / "superseded" / str(n)


def test_results_of_another_configuration_are_kept(used, capsys):
    open_run(used, Config(steps=4, seeds=(0,)), "cpu")
    printed = capsys.readouterr().out
    assert "of another configuration (seeds, steps), moved to" in printed
    assert str(used / "superseded" / "1") in printed
    fill(used, "second")
    open_run(used, Config(), "cpu")
    for n, (text, steps) in {1: ("first", 3), 2: ("second", 4)}.items():
        kept = generation(used, n)
        assert yaml.safe_load((kept / "config.yaml").read_text())["steps"] == steps
        assert (kept / "environment.json").exists()
        assert all((kept / name).read_text() == text for name in REPORTS)
        assert not any((kept / name).exists() for name in SHARED)
    assert not any((used / name).exists() for name in REPORTS)
    assert all((used / name).read_text() == "shared" for name in SHARED)
    assert not any(list(used.rglob(Path(name).name)) for name in REMADE[2:])
    assert {path.parent.name for path in used.rglob("*tfevents*")} == {"seed0"}


def test_the_same_configuration_elsewhere_supersedes_nothing(used, capsys):
    """A place counts for nothing; a file that cannot be read is another configuration."""
    open_run(used, Config(output=used, device="cpu"), "cpu")
    assert not (used / "superseded").exists()
    assert (used / "results.json").read_text() == "first"
    assert not (used / "finished.json").exists(), "the results are about to be written over"
    assert capsys.readouterr().out == ""
    (used / "config.yaml").write_text("steps: [")
    open_run(used, Config(), "cpu")
    assert (generation(used, 1) / "config.yaml").read_text() == "steps: ["


def test_a_move_that_was_interrupted_goes_on(used, monkeypatch, tmp_path):
    """At any moment: the results end together, in one folder."""
    rename, moves, ended = Path.rename, 0, False
    while not ended:
        run, done = shutil.copytree(used, tmp_path / f"after {moves}"), []

        def interrupted(path, target, done=done, most=moves):
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(path)
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", interrupted)
            try:
                open_run(run, Config(steps=4), "cpu")
                ended = True
            except KeyboardInterrupt:
                moves += 1
        open_run(run, Config(steps=4), "cpu")
        assert [folder.name for folder in (run / "superseded").iterdir()] == ["1"]
        assert all((generation(run, 1) / name).read_text() == "first" for name in REPORTS)
        assert yaml.safe_load((generation(run, 1) / "config.yaml").read_text())["steps"] == 3
    assert moves >= len(REPORTS)


def test_lakes_own_keys_supersede_its_own_files(used):
    keep_configuration(used, "lake.yaml", Config(), LAKE)
    kept = {str(p.relative_to(generation(used, 1))) for p in generation(used, 1).rglob("*.*")}
    assert kept == {"lake.yaml", "lake.json", "lake/vae.png"}
    assert [name for name in REMADE if not (used / name).exists()] == [REMADE[1]]
    assert (used / "results.json").read_text() == "first"


@pytest.mark.parametrize("command", ["pretrain", "train", "evaluate"])
def test_a_second_run_in_a_folder_waits(command, write, small_configs, tmp_path, capsys):
    module = importlib.import_module(f"fewshot.commands.{command}")
    run = tmp_path / "run"
    arguments = [write(small_configs[command]), "--output", str(run)]
    with ThreadPoolExecutor(1) as pool:
        with only_one(run):
            second, said = pool.submit(module.main, arguments), ""
            while "run is in use by another run of fewshot; waiting" not in said:
                assert not second.done(), second.result()
                time.sleep(0.05)
                said += capsys.readouterr().out
            assert [path.name for path in run.iterdir()] == [".lock"]
        assert second.result() == run / "results.json"


# Longer trainings.


def weights(folder):
    return Encoder.load(folder / "encoder.safetensors").state_dict()


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in other)


@pytest.fixture
def steps_taken(monkeypatch):
    """The numbers of the optimizer steps that are taken, in pretraining and meta-training."""
    taken = []
    for owner in (Trainer, fewshot.meta_train._Trainer):
        step = owner.step

        def counted(self, number, step=step):
            taken.append(number)
            return step(self, number)

        monkeypatch.setattr(owner, "step", counted)
    return taken


@pytest.mark.parametrize(("steps", "resumed"), [(4, 4), (5, 4), (1, 0)])
@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_a_longer_training_goes_on_to_the_same_bits(
    run_small, tmp_path, steps_taken, command, steps, resumed
):
    """Also from a length that is no multiple of validate_every: its last validation is ignored."""
    key = f"--{command}.steps"
    run_small(command, key, "8", "--seed=2", output=tmp_path / "whole")
    run_small(command, key, str(steps), "--seed=2")
    short = weights(tmp_path / "run")
    steps_taken.clear()
    printed = run_small(command, key, "8", "--seed=2")
    assert f"({command}.steps)" in printed
    assert steps_taken == list(range(resumed, 8))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert same(weights(tmp_path / "run" / "superseded" / "1"), short)
    if command == "pretrain":
        history = json.loads((tmp_path / "run" / "results.json").read_text())["history"]
        assert [entry["step"] for entry in history] == [2, 4, 6, 8]
    # A shorter one does not come from the longer one.
    run_small(command, key, str(steps), "--seed=2")
    assert same(weights(tmp_path / "run"), short)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damage_to_a_training_is_noticed_and_made_good(run_small, tmp_path, steps_taken, capsys):
    run_small("pretrain", "--pretrain.steps=4")
    short = weights(tmp_path / "run")
    run_small("pretrain", "--pretrain.steps=8")
    right = weights(tmp_path / "run")
    steps_taken.clear()
    flip(tmp_path / "run" / "encoder.safetensors")  # made again from the last state
    assert "encoder.safetensors: not as written; made again" in run_small(
        "pretrain", "--pretrain.steps=8"
    )
    assert steps_taken == [] and same(weights(tmp_path / "run"), right)
    (last,) = (tmp_path / "run").glob("cells/*/state-8.pt")
    flip(last)
    (tmp_path / "run" / "finished.json").unlink()
    capsys.readouterr()
    config = str(tmp_path / "config.yaml")
    assert main(["pretrain", config, "--output", str(tmp_path / "run"), "--pretrain.steps=8"]) == 0
    assert f"{last}: damaged; the training does not go on from it" in capsys.readouterr().err
    assert steps_taken == list(range(4, 8)), "from the shorter training's state"
    assert same(weights(tmp_path / "run"), right) and not same(right, short)


def test_a_schedule_that_knows_its_end_starts_anew(run_small, steps_taken):
    for steps in (4, 8):
        run_small("pretrain", "--pretrain.schedule=cosine", f"--pretrain.steps={steps}")
    assert steps_taken == [*range(4), *range(8)]
