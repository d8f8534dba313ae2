"""Common to all datasets: public names, roots, configurations, missing files, downloads."""

import inspect
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fewshot.data
from fewshot.config import parse
from fewshot.data import (
    CIFAR_FS,
    FC100,
    MNIST,
    CelebA,
    DatasetFactory,
    Glyphs,
    ImageFolder,
    MiniImageNet,
    Omniglot,
    data_root,
)
from guided.errors import InputError

DOWNLOADED = [Omniglot, MNIST, CIFAR_FS, FC100, CelebA, MiniImageNet]
SETTINGS: list[tuple[Any, dict[str, Any]]] = [
    (Omniglot, {"split": "vinyals", "size": 32}),
    (MNIST, {"validation": 7}),
    (CIFAR_FS, {}),
    (FC100, {}),
    (CelebA, {"min_images": 3}),
    (MiniImageNet, {"size": 32}),
    (Glyphs, {"n_alphabets": 9}),
    (ImageFolder, {"path": "own", "size": [20, 30], "channels": 3, "invert": True}),
]


def test_public_names_have_docstrings_and_load_lazily():
    for name in fewshot.data.__all__:
        item = getattr(fewshot.data, name)
        assert item.__doc__ or not inspect.isroutine(item) | inspect.isclass(item), name
    code = "import fewshot.data, sys; fewshot.data.data_root(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


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
def test_nothing_found(dataset, tmp_path):
    roots = [tmp_path / "one", tmp_path / "two"]
    how_to_get = f"fewshot data --download {dataset.name}"
    listing = dataset(roots).listing()
    assert (listing.name, listing.found) == (dataset.name, False)
    assert (listing.classes, listing.images) == (None, None)
    assert listing.where.startswith(str(roots[0]))
    assert listing.how_to_get == how_to_get
    with pytest.raises(InputError) as caught:
        dataset(roots).splits()
    message = str(caught.value)
    assert message.startswith(f"{dataset.name}: ")
    assert f"not found in {roots[0]}, {roots[1]}; get it with: {how_to_get}, or set" in message
    assert "\n" not in message


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_a_failed_download_says_what_to_do(dataset, tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service\nnot known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=unreachable))
    roots = [tmp_path / "one", tmp_path / "two"]
    for attempt in (dataset(roots).download, dataset(roots, download=True).splits):
        with pytest.raises(InputError) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(f"{dataset.name}: download failed (http")
        assert "Name or service not known" in message
        assert "); put " in message
        assert f" into {roots[0]}" in message
        assert "\n" not in message
    assert not [path for path in tmp_path.glob("**/*") if path.is_file()]


@dataclass
class Study:
    dataset: DatasetFactory


@pytest.mark.parametrize(("dataset", "settings"), SETTINGS, ids=lambda x: getattr(x, "name", ""))
def test_can_be_named_in_a_configuration(dataset, settings, tmp_path):
    import yaml

    named = {"dataset": {"class_path": dataset.__name__, "init_args": settings}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(named))
    factory = parse(Study, [str(tmp_path / "study.yaml")], "study").dataset
    made = factory([tmp_path])
    assert isinstance(made, dataset)
    assert made.roots == (tmp_path,)
    for key, value in settings.items():
        expected = {"path": Path("own"), "size": (20, 30)}.get(key) if "path" in settings else None
        assert getattr(made, key) == (expected or value)


@pytest.mark.parametrize(
    ("dataset", "settings"),
    [
        (MiniImageNet, {"size": 0}),
        (CelebA, {"size": 0}),
        (CelebA, {"min_images": 0}),
        (MNIST, {"validation": 0}),
        (Omniglot, {"size": 0}),
    ],
)
def test_values_out_of_range(dataset, settings):
    (key,) = settings
    message = rf"^{dataset.__name__}\.{key}: expected at least 1.*, got 0"
    with pytest.raises(InputError, match=message):
        dataset(**settings)
