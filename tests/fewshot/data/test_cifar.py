import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot.data import Dataset
from fewshot.data.cifar import dataset as cifar
from fewshot.data.cifar.dataset import CIFAR_FS, FC100
from fewshot.data.io.download import RemoteFile
from guided.errors import InputError

# https://www.cs.toronto.edu/~kriz/cifar.html, in the files' spelling.
CLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASSES = list(CLASSES)
SUPERCLASS_OF = {name: i for i, names in enumerate(CLASSES.values()) for name in names.split()}
NAMES = sorted(SUPERCLASS_OF)
PARTS = {"train": 300, "test": 100}
RNG = np.random.default_rng(0)
LABELS = {part: RNG.permutation(np.arange(n) % 100) for part, n in PARTS.items()}
PIXELS = {part: RNG.integers(0, 256, (n, 3072), np.uint8) for part, n in PARTS.items()}

Contents = dict[str, Any]
DATASETS: tuple[Callable[[Path], Dataset], ...] = (CIFAR_FS, FC100)


@pytest.fixture
def contents(monkeypatch):
    """The content of the files of a small CIFAR-100, which passes for complete."""
    monkeypatch.setattr(cifar, "PARTS", PARTS)
    made: Contents = {
        part: {
            "filenames": [f"{part}_{i}.png" for i in range(n)],
            "fine_labels": LABELS[part].tolist(),
            "coarse_labels": [SUPERCLASS_OF[NAMES[i]] for i in LABELS[part]],
            "data": PIXELS[part],
        }
        for part, n in PARTS.items()
    }
    return {**made, "meta": {"fine_label_names": NAMES, "coarse_label_names": SUPERCLASSES}}


def archive(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("file.txt~", *contents):
            content = pickle.dumps(contents.get(name), protocol=2)
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_archive(root, contents):
    root.mkdir(parents=True, exist_ok=True)
    path = root / "cifar-100-python.tar.gz"
    path.write_bytes(archive(contents))
    return path


def write_folder(root, contents):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def banks(splits):
    return [splits.train, splits.validation, splits.test]


@pytest.mark.parametrize("dataset", DATASETS)
def test_images_of_each_class(dataset, tmp_path, contents):
    write_archive(tmp_path, contents)
    splits = dataset(tmp_path).splits()
    counts = list(dataset(tmp_path).class_counts().values())
    assert [bank.n_classes for bank in banks(splits)] == counts
    assert sorted(name for bank in banks(splits) for name in bank.class_names) == NAMES
    for bank in banks(splits):
        assert list(bank.class_names) == sorted(bank.class_names)
        assert bank.image_shape == (3, 32, 32)
        for label, name in enumerate(bank.class_names):
            expected = np.concatenate([PIXELS[p][NAMES.index(name) == LABELS[p]] for p in PARTS])
            chosen = bank.labels == label
            assert np.array_equal(bank.images[chosen].flatten(1), expected), "training first"
            assert bank.attributes["superclass"][chosen].unique().tolist() == [SUPERCLASS_OF[name]]


def test_colours_and_rows_are_where_they_belong(tmp_path, contents):
    """1024 values of red, then green, then blue, each row by row."""
    contents["train"]["data"] = np.tile(np.arange(3072) // 32 % 96, (300, 1)).astype(np.uint8)
    write_archive(tmp_path, contents)
    image = CIFAR_FS(tmp_path).splits().train.images[0]
    assert image[:, :, 5].tolist() == [list(range(32)), list(range(32, 64)), list(range(64, 96))]


def test_cifar_fs(tmp_path, contents):
    write_archive(tmp_path, contents)
    splits = CIFAR_FS(tmp_path).splits()
    assert " ".join(splits.train.class_names) == (
        "apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair "
        "clock cloud cockroach couch cup dinosaur dolphin elephant forest girl hamster house "
        "kangaroo keyboard lawn_mower lion lizard lobster mountain mouse mushroom oak_tree orange "
        "orchid palm_tree pear pine_tree plate porcupine possum rabbit raccoon ray road seal "
        "shrew skunk skyscraper snake spider squirrel streetcar sunflower tank tiger train trout "
        "tulip turtle willow_tree wolf"
    )
    assert " ".join(splits.validation.class_names) == (
        "beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle "
        "otter sea shark television tractor"
    )
    assert " ".join(splits.test.class_names) == (
        "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail "
        "sweet_pepper table telephone wardrobe whale woman worm"
    )
    assert len(splits.train.attributes["superclass"].unique()) == 20


def test_fc100_divides_superclasses(tmp_path, contents):
    """By the numbers that are passed on with the dataset."""
    write_archive(tmp_path, contents)
    seen = [
        bank.attributes["superclass"].unique().tolist() for bank in banks(FC100(tmp_path).splits())
    ]
    assert seen == [[1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19], [8, 11, 13, 16], [0, 7, 12, 14]]


@pytest.mark.parametrize("place", [".", "cifar-100", "cifar100"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_places(place, dataset, tmp_path, contents, same):
    write_archive(tmp_path / "zipped", contents)
    expected = banks(dataset(tmp_path / "zipped").splits())
    folder = write_folder(tmp_path / "here" / place, contents)
    assert all(map(same, banks(dataset(tmp_path / "here").splits()), expected))
    listing = dataset(tmp_path / "here").listing()
    assert (listing.found, listing.where) == (True, str(folder))
    assert (listing.classes, listing.images) == (100, 400)


def test_read_once_until_the_source_changes(tmp_path, contents, monkeypatch):
    path = write_archive(tmp_path, contents)
    first = FC100(tmp_path).splits().test
    monkeypatch.setattr(cifar, "load_pickle", None)
    assert torch.equal(FC100(tmp_path).splits().test.images, first.images)
    os.utime(path, ns=(1, 1))
    with pytest.raises(TypeError):
        FC100(tmp_path).splits()


def fails(root, *words):
    for dataset in DATASETS:
        with pytest.raises(InputError) as caught:
            dataset(root).splits()
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("train", {"data": PIXELS["train"][:9]}, "data: expected [300, 3072], got [9, 3072]"),
        ("train", {"data": PIXELS["train"] / 255}, "data: expected an array of uint8"),
        ("test", {"data": [1]}, "data: expected an array of uint8"),
        ("test", {"fine_labels": [0] * 9}, "fine_labels: expected 100 numbers from 0 to 99"),
        ("test", {"fine_labels": [100] * 100}, "fine_labels: expected 100 numbers from 0 to 99"),
        ("test", {"coarse_labels": [20] * 100}, "coarse_labels: expected 100 numbers from 0 to 19"),
        ("test", {"coarse_labels": ["0"] * 100}, "coarse_labels: expected 100 numbers"),
        ("meta", {"fine_label_names": NAMES[1:]}, "fine_label_names: expected 100 different names"),
        ("meta", {"coarse_label_names": None}, "coarse_label_names: expected 20 different names"),
        ("meta", {"coarse_label_names": [["a"]] * 20}, "coarse_label_names: expected 20 different"),
    ],
)
def test_a_file_of_something_else(part, changes, message, tmp_path, contents):
    contents[part].update(changes)
    folder = write_folder(tmp_path / "folder", contents)
    fails(tmp_path / "folder", f"{folder / part}: {message}")
    path = write_archive(tmp_path / "archive", contents)
    fails(tmp_path / "archive", f"{path}/{part}: {message}")


@pytest.mark.parametrize("part", ["train", "test", "meta"])
def test_a_missing_file(part, tmp_path, contents):
    del contents[part]
    folder = write_folder(tmp_path / "folder", contents)
    fails(tmp_path / "folder", f"{folder / part}: not found")
    path = write_archive(tmp_path / "archive", contents)
    fails(tmp_path / "archive", f"{path}: expected CIFAR-100, found no file {part}")


def test_a_class_in_two_superclasses(tmp_path, contents):
    contents["train"]["coarse_labels"][0] ^= 1
    path = write_archive(tmp_path, contents)
    name = NAMES[LABELS["train"][0]]
    fails(tmp_path, f"{path}: the class {name} is in several superclasses")


def test_a_class_without_images(tmp_path, contents):
    for part in PARTS:
        labels = contents[part]["fine_labels"]
        contents[part]["fine_labels"] = [label or 53 for label in labels]
    path = write_archive(tmp_path, contents)
    fails(tmp_path, f"{path}: the class apple has no images")


def test_other_names(tmp_path, contents):
    contents["meta"]["fine_label_names"] = [n.replace("whale", "wale") for n in NAMES]
    contents["meta"]["coarse_label_names"] = [n.replace("people", "folk") for n in SUPERCLASSES]
    write_archive(tmp_path, contents)
    with pytest.raises(InputError, match="expected CIFAR-100's classes, found no whale"):
        CIFAR_FS(tmp_path).splits()
    with pytest.raises(InputError, match="expected CIFAR-100's classes, found no people"):
        FC100(tmp_path).splits()


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_hostile_pickle(tmp_path, contents, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents["meta"]["more"] = Attack()
    path = write_archive(tmp_path / "archive", contents)
    fails(tmp_path / "archive", f"{path}/meta: refused: the pickle names posix.system")
    folder = write_folder(tmp_path / "folder", contents)
    fails(tmp_path / "folder", f"{folder}/meta: refused: the pickle names posix.system")
    assert not (tmp_path / "attacked").exists()


def test_damaged_archive(tmp_path, contents):
    path = write_archive(tmp_path, contents)
    content = path.read_bytes()
    for damaged in (b"", content[:20], content[:5000], content[:500_000], b"<html></html>"):
        path.write_bytes(damaged)
        fails(tmp_path, f"{path}", "not a complete")


@pytest.mark.parametrize("dataset", [CIFAR_FS, FC100])
def test_download(dataset, tmp_path, server, contents, monkeypatch):
    content = archive(contents)
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(cifar, "FILE", RemoteFile(cifar.ARCHIVE, (f"{server.url}/cifar",), md5))
    server.answers["/cifar"] = (200, None, content)
    assert len(dataset(tmp_path, download=True).splits().test) == 80
    n_asked = len(server.asked)
    dataset(tmp_path).download()
    assert len(server.asked) == n_asked, "what is there is not downloaded again"


def test_the_published_archive():
    from torchvision.datasets import CIFAR100

    assert (CIFAR100.base_folder, CIFAR100.filename) == (cifar.FOLDER, cifar.ARCHIVE)
    assert ((CIFAR100.url,), CIFAR100.tgz_md5) == (cifar.FILE.urls, cifar.FILE.md5)
