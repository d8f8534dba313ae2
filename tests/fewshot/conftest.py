"""Small banks of known structure, small encoders, and a study that takes seconds."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fewshot.cli import main
from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes
from fewshot.study.counts import Counts
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.latents import LatentLayout
from guided.seeds import seeded_initialisation
from guided.storage.files import read_json
from tests.html_page import Page

SHAPE = (1, 16, 16)

STUDY = """
study: tiny
dataset:
  class_path: Glyphs
  init_args: {n_alphabets: 4, n_characters: 5, n_drawers: 8, size: 16,
              validation_alphabets: 1, test_alphabets: 1}
arms:
  pixels: {encoder: pixels}
  random: {encoder: random}
  vae: {}
  guided:
    guidance:
    - class_path: ExcitationInhibition
      init_args: {attributes: {class: 4}, excitation: 10}
    latents: [all, class]
learners:
  prototypical: {learner: {class_path: Prototypical}}
pretrain:
  backbone: {class_path: Conv4, init_args: {width: 8}}
  latent_dim: 8
  kl_warmup: 2
  steps: 8
  batch_size: 32
  learning_rate: 0.003
  validate_every: 2
  log_every: 4
settings: [{n_way: 3, n_shot: 1, n_query: 4}]
seeds: [0, 1]
episodes: 20
selection_episodes: 10
"""

TRAINED = """
learner: {class_path: Prototypical, init_args: {metric: cosine}}
train:
  setting: {n_way: 5, n_shot: 1, n_query: 3}
  steps: 3
  learning_rate: 0.01
  validation: {n_way: 3, n_shot: 1, n_query: 3}
  validation_episodes: 6
  validate_every: 1
"""


@pytest.fixture(scope="session", autouse=True)
def _one_process():
    """One thread: networks of eight channels gain nothing from more, nor from more processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_WORKERS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(shared_cache, monkeypatch):
    """Generated datasets go to a temporary folder, once for all tests."""
    monkeypatch.setenv("FEWSHOT_CACHE", str(shared_cache))


def prototype_bank(n_classes=12, sizes=20, *, noise=40.0, seed=0, shuffled=False):
    """Each class is one pattern of 4 × 4 blocks; its images differ by pixel noise."""
    rng = np.random.default_rng(seed)
    counts = [sizes] * n_classes if isinstance(sizes, int) else sizes
    labels = np.repeat(np.arange(n_classes), counts)
    if shuffled:
        rng.shuffle(labels)
    patterns = rng.uniform(60, 195, (n_classes, 4, 4)).repeat(4, 1).repeat(4, 2)
    images = patterns[labels] + noise * rng.standard_normal((len(labels), 16, 16))
    return ImageBank(
        torch.from_numpy(images.clip(0, 255).astype(np.uint8))[:, None],
        torch.from_numpy(labels),
        tuple(f"class {i}" for i in range(n_classes)),
    )


@pytest.fixture(scope="session")
def make_bank():
    return prototype_bank


@pytest.fixture(scope="session")
def bank():
    return prototype_bank()


@pytest.fixture
def encoder():
    """A network with latent slices and trained batch norm statistics, in evaluation mode."""
    with seeded_initialisation(3, "test"), torch.no_grad():
        layout = LatentLayout({"class": (0, 3), "content": (3, 8)})
        made = Encoder(Conv4(SHAPE, width=8), layout).train()
        for _ in range(20):
            made(torch.rand(64, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3))
    return made.eval()


@pytest.fixture
def pixels():
    return Encoder(Pixels(SHAPE), None).eval()


def random_episodes(e=6, way=4, shot=3, query=2, d=10, seed=0):
    """Episodes of float64 embeddings whose classes overlap, so that some queries are wrong."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((e, way, 1, d))
    support = centres + rng.standard_normal((e, way, shot, d))
    queries = centres + rng.standard_normal((e, way, query, d))
    return Episodes(torch.from_numpy(support), torch.from_numpy(queries))


@pytest.fixture(scope="session")
def make_episodes():
    return random_episodes


@pytest.fixture(scope="session")
def tiny():
    """The configuration of the tiny study as plain values, which nobody may change."""
    return yaml.safe_load(STUDY)


@pytest.fixture
def study():
    """The configuration of the tiny study as plain values, to be changed and written."""
    return yaml.safe_load(STUDY)


@pytest.fixture
def write(tmp_path):
    """Write a configuration; returns its path as the command line takes it."""

    def to_file(config, name="config.yaml"):
        path = tmp_path / name
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return str(path)

    return to_file


@pytest.fixture
def fails(capsys, tmp_path):
    """Run a command that must exit with 2 and one line; returns the line.

    Nothing may have been written to ``--output`` unless ``writes`` says so.
    """

    def run(*arguments, writes=False):
        output = tmp_path / "must-not-exist"
        where = [] if "--output" in arguments else ["--output", str(output)]
        assert main([*arguments, *where]) == 2
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1, printed.err
        assert printed.err.startswith(f"fewshot {arguments[0]}: ")
        assert writes or not output.exists()
        return printed.err

    return run


@pytest.fixture(scope="session")
def python():
    """Run a program in a fresh interpreter; returns what it prints."""

    def run(program, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def lake_folder(tmp_path_factory):
    """20 runs in the layout of Lake's all_runs.zip, whose characters pixels tell apart.

    A character is a black block in a place of its own; the test image's is smaller. Items are
    shuffled: ``run01/class_labels.txt`` says which is which.
    """
    folder = tmp_path_factory.mktemp("lake") / "all_runs"
    rng = np.random.default_rng(0)

    def draw(path, place, size):
        row, column = 10 + 20 * (place // 4), 10 + 22 * (place % 4)
        pixels = np.full((105, 105), True)
        pixels[row : row + size, column : column + size] = False
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    for run in (f"run{i:02}" for i in range(1, 21)):
        places, lines = rng.permutation(20), []
        for item, character in enumerate(rng.permutation(20), 1):
            training = f"{run}/training/class{character + 1:02}.png"
            draw(folder / training, places[character], 18)
            draw(folder / f"{run}/test/item{item:02}.png", places[character], 14)
            lines.append(f"{run}/test/item{item:02}.png {training}\n")
        (folder / run / "class_labels.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def finished(shared_cache, tmp_path_factory):
    """A study that ran to its end through the command line; nobody may change its folder.

    ``config``: plain values; ``file``, ``folder``: where they and the run are; ``printed``;
    ``results``: of results.json; ``counts``: of episodes.npz; ``wrong``: the same, key by key.
    """
    base = tmp_path_factory.mktemp("study")
    config = yaml.safe_load(STUDY)
    config["settings"].append({"n_way": 2, "n_shot": 3, "n_query": 2})
    config["learners"]["trained"] = yaml.safe_load(TRAINED)
    (base / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        assert main(["compare", str(base / "config.yaml"), "--output", str(base / "run")]) == 0
    counts = Counts.load(base / "run" / "episodes.npz")
    return SimpleNamespace(
        config=config,
        file=base / "config.yaml",
        folder=base / "run",
        printed=printed.getvalue(),
        results=read_json(base / "run" / "results.json"),
        counts=counts,
        wrong={"|".join(key): wrong for key, wrong in counts.wrong.items()},
    )


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window, for the dependency group ``browser``."""
    reason = "playwright is not installed"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    names = ("chromium", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if not program:
        pytest.skip("no chromium or google-chrome in the PATH")
    with playwright.sync_playwright() as running:
        # Pages that draw in three dimensions do without a graphics card.
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        opened = running.chromium.launch(executable_path=program, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def read_page():
    """Read a page, and check what holds for every page."""

    def read(path):
        page = Page(path.read_text(encoding="utf-8"))
        assert page.size < 5e6
        assert len(page.ids) == len(set(page.ids))
        assert set(page.references) <= set(page.ids)
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.ids
            else:
                assert ":" not in link
                assert (path.parent / unquote(link)).exists(), link
        assert all(loaded.startswith("data:") for loaded in page.loaded)
        assert "@import" not in page.styles and "url(" not in page.styles
        assert all(page.alts)
        assert page.source.startswith("<!DOCTYPE html>")
        assert page.headings[0].strip()
        return page

    return read


@pytest.fixture
def small_configs(study):
    """A small configuration of each command that trains or tests."""
    shape = {"n_way": 3, "n_shot": 1, "n_query": 2}
    train = {"steps": 4, "setting": shape, "validation": shape, "validation_episodes": 3}
    probe = {"study": "probe", "arms": {"vae": {}}, "latent_dims": [3], "seeds": [0], "samples": 20}
    dataset = study["dataset"]
    drawers = {"class_path": "Glyphs", "init_args": dataset["init_args"] | {"split": "drawers"}}
    return {
        "evaluate": {"dataset": dataset, "settings": [shape], "episodes": 6},
        "pretrain": {"dataset": dataset, "pretrain": study["pretrain"]},
        "train": {
            "dataset": dataset,
            "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
            "train": train | {"validate_every": 2},
        },
        "probe": probe
        | {"dataset": drawers, "pretrain": {"steps": 2, "batch_size": 16}}
        | {"features": {"steps": 2, "batch_size": 16}},
        "compare": study | {"seeds": [0], "arms": {"vae": {}, "random": {"encoder": "random"}}},
    }


@pytest.fixture
def run_small(tmp_path, write, small_configs, capsys):
    """Run a command in the folder ``run``; returns what it printed."""

    def command(name, *arguments, output=tmp_path / "run"):
        assert main([name, write(small_configs[name]), "--output", str(output), *arguments]) == 0
        return capsys.readouterr().out

    return command
