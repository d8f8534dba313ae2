"""Common to all datasets: public names, roots, configurations, missing files, downloads."""

import os
import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from fewshot.config import parse
from fewshot.data import (
    CIFAR_FS,
    FC100,
    MNIST,
    CelebA,
    DatasetFactory,
    DSprites,
    Flow,
    Glyphs,
    ImageFolder,
    MiniImageNet,
    Omniglot,
    Pendulum,
    Sprites,
    data_root,
)
from fewshot.data.dataset import Listing
from guided.errors import InputError

DOWNLOADED = [Omniglot, MNIST, CIFAR_FS, FC100, CelebA, MiniImageNet]
SETTINGS = [
    (Omniglot, {"split": "vinyals", "size": 32}),
    (MNIST, {"validation": 7}),
    *((CIFAR_FS, {}), (FC100, {})),
    (CelebA, {"min_images": 3}),
    (MiniImageNet, {"size": 32}),
    (Glyphs, {"n_alphabets": 9, "causal": True}),
    (Pendulum, {"min_length": 0.5, "size": 28}),
    (Flow, {"images": 3000, "split": "images"}),
    (Sprites, {"images": 5000, "size": 32}),
    (DSprites, {"split": "images"}),
    (ImageFolder, {"path": "own", "size": [20, 30], "channels": 3, "invert": True}),
    (ImageFolder, {"path": "own", "size": [20, 30], "merge_splits": True, "min_images": 16}),
    (Omniglot, {"background": "small2"}),
]


def test_the_roots(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    a, b = Path("/a"), Path("/home/me/b")
    several = os.pathsep.join(["/a", "~/b"])
    for given in (several, Path(several), ["/a", "~/b"], (a, b)):
        assert data_root(given) == (a, b)
    monkeypatch.setenv("FEWSHOT_DATA", "")
    assert data_root() == data_root(os.pathsep) == (Path("data"),)
    monkeypatch.setenv("FEWSHOT_DATA", several)
    assert data_root() == (a, b)
    assert Omniglot().roots == (a, b)
    assert Omniglot("/c").root == Path("/c")
    assert Omniglot("/c").class_counts() == {}, "not known before it is read"


def test_roots_are_searched_in_order(tmp_path, zipped, extracted):
    roots = [tmp_path / "nowhere", zipped, extracted]
    assert Omniglot(roots).listing().where == str(zipped / "omniglot")
    assert Omniglot(roots[::-1]).listing().where == str(extracted)
    # A part in one root and a part in another make no dataset.
    (zipped / "omniglot" / "images_evaluation.zip").unlink()
    assert Omniglot(roots).listing().where == str(extracted)


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_what_is_missing_says_how_to_get_it(dataset, tmp_path, monkeypatch, refused):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service\nnot known")

    roots = [tmp_path / "one", tmp_path / "two"]
    how_to_get = f"fewshot data --download {dataset.name}"
    listing = dataset(roots).listing()
    where = listing.where
    assert listing == Listing(dataset.name, False, where, None, None, how_to_get)
    assert where.startswith(str(roots[0]))
    missing = f"not found in {roots[0]}, {roots[1]}; get it with: {how_to_get}, or set"
    refused(dataset(roots), f"{dataset.name}: ", missing)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=unreachable))
    failed = f"{dataset.name}: download failed (http", "Name or service not known", "); put "
    refused(dataset(roots, download=True), *failed, f" into {roots[0]}")
    with pytest.raises(InputError, match=rf"{dataset.name}: download failed \(http"):
        dataset(roots).download()
    assert not [path for path in tmp_path.glob("**/*") if path.is_file()]


class OwnFolder(ImageFolder):
    def __init__(self, **settings):
        super().__init__(path="own", **settings)


@dataclass
class Study:
    dataset: DatasetFactory


@pytest.mark.parametrize(("dataset", "settings"), SETTINGS, ids=lambda x: getattr(x, "name", ""))
def test_can_be_named_in_a_configuration(dataset, settings, tmp_path):
    named = {"dataset": {"class_path": dataset.__name__, "init_args": settings}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(named))
    made = parse(Study, [str(tmp_path / "study.yaml")], "study").dataset([tmp_path])
    assert isinstance(made, dataset)
    assert made.roots == (tmp_path,)
    expected = settings | ({"path": Path("own"), "size": (20, 30)} if "path" in settings else {})
    assert {key: getattr(made, key) for key in settings} == expected


OUT_OF_RANGE = [  # what, a value, what is expected, of which settings
    (MiniImageNet, 0, "at least 1", "size"),
    (CelebA, 0, "at least 1", "size", "min_images"),
    (MNIST, 0, "at least 1", "validation"),
    (Omniglot, 0, "at least 1", "size"),
    (Omniglot, "mine", "one of lake, vinyals, random", "split"),
    (Omniglot, True, "one of none, train, test, all", "rotations"),
    (Omniglot, 0, "in [1, 29]", "validation_alphabets"),
    (Omniglot, 30, "in [1, 29]", "validation_alphabets"),
    (Omniglot, -1, "at least 0", "split_seed"),
    (OwnFolder, 0, "at least 1", "size"),
    (OwnFolder, 4, "one of 1, 3", "channels"),
    (OwnFolder, -0.1, "in [0, 1]", "validation"),
    (OwnFolder, float("nan"), "in [0, 1]", "validation", "test"),
    (OwnFolder, 1.5, "in [0, 1]", "test"),
    (OwnFolder, -1, "at least 0", "split_seed"),
    (OwnFolder, 0, "at least 1", "min_images"),
    (Omniglot, "small3", "one of all, small1, small2", "background"),
    (Glyphs, 2, "at least 3", "n_alphabets"),
    (Glyphs, 0, "in [1, 30]", "n_characters"),
    (Glyphs, 31, "in [1, 30]", "n_characters"),
    (Glyphs, 7, "at least 8", "size"),
    (Glyphs, "seeds", "one of alphabets, drawers", "split"),
    (Glyphs, 1, "at least 2", "factor_bins"),
    (Glyphs, -1, "at least 0", "seed"),
    *((s, 999, "in [1000, 737280]", "images") for s in (Sprites, DSprites)),
    (DSprites, 737_281, "in [1000, 737280]", "images"),
    (Sprites, 28, "one of 32, 64", "size"),
    (Sprites, "seeds", "one of classes, images", "split"),
    (Sprites, -1, "at least 0", "seed"),
    *((s, 999, "at least 1000", "images") for s in (Pendulum, Flow)),
    (Pendulum, 30, "one of 28, 32, 64", "size"),
    (Flow, "seeds", "one of classes, images", "split"),
    (Flow, -1, "at least 0", "seed"),
    (Pendulum, -0.1, "at least 0", "min_length"),
    (Glyphs, 0, "at least 1", "n_drawers", "validation_alphabets", "test_alphabets"),
]
IMPOSSIBLE = [
    (Omniglot, {"split": "vinyals", "split_seed": 1}, "split_seed: has no effect on"),
    (Omniglot, {"split": "random", "validation_alphabets": 5}, "alphabets: has no effect on"),
    (OwnFolder, {"size": (28, -1)}, "size.1: expected at least 1, got -1"),
    (OwnFolder, {"validation": 0.5, "test": 0.6}, "expected 1 at most, got 1.1"),
    (Omniglot, {"split": "vinyals", "background": "small1"}, "background: has no effect on"),
    (Omniglot, {"background": "small1", "download": True}, "download: brings no small sets"),
    (Glyphs, {"split": "drawers", "n_drawers": 4}, "n_drawers: expected at least 5, got 4"),
    (Glyphs, {"test_alphabets": 17}, "expected fewer than n_alphabets (20)"),
    *(
        (d, {key: v}, f"{key}: expected {e}, got {v}")
        for d, v, e, *ks in OUT_OF_RANGE
        for key in ks
    ),
]


@pytest.mark.parametrize(("dataset", "settings", "message"), IMPOSSIBLE)
def test_impossible_settings(dataset, settings, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        dataset(**settings)
    assert str(caught.value).startswith((dataset.__name__, "ImageFolder"))
