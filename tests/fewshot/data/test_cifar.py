import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR100

from fewshot.data.cifar import dataset as cifar
from fewshot.data.cifar.dataset import CIFAR_FS, FC100
from fewshot.data.cifar.splits import CIFAR_FS_HELD_OUT

SUPERCLASSES = [
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
    *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
    *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
    *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
    *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
]
NAMES = sorted([*CIFAR_FS_HELD_OUT, *(f"other{i:02}" for i in range(64))])
SUPERCLASS_OF = {name: i % 20 for i, name in enumerate(NAMES)}
PARTS = {"train": 300, "test": 100}
RNG = np.random.default_rng(0)
LABELS = {part: RNG.permutation(np.arange(n) % 100) for part, n in PARTS.items()}
PIXELS = {part: RNG.integers(0, 256, (n, 3072), np.uint8) for part, n in PARTS.items()}
DATASETS = (CIFAR_FS, FC100)


@pytest.fixture
def contents(monkeypatch):
    """The content of the files of a small CIFAR-100, which passes for complete."""
    monkeypatch.setattr(cifar, "PARTS", PARTS)
    made = {
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


@pytest.fixture
def zipped(tmp_path, contents):
    """``zipped()``: write the archive; returns its path."""
    path = tmp_path / "cifar-100-python.tar.gz"
    return lambda: path.write_bytes(archive(contents)) and path


def write_folder(root, contents):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


@pytest.fixture
def fails(tmp_path, contents, zipped, refused):
    """``fails(part, message)``: so say the archive, and the folder that it holds."""

    def check(part, message):
        refused(CIFAR_FS(tmp_path), f"{zipped()}/{part}: {message}")
        refused(FC100(tmp_path), f"{write_folder(tmp_path, contents)}/{part}: {message}")

    return check


@pytest.mark.parametrize("dataset", DATASETS)
def test_images_of_each_class(dataset, tmp_path, zipped):
    zipped()
    banks = vars(dataset(tmp_path).splits()).values()
    assert [bank.n_classes for bank in banks] == [*dataset(tmp_path).class_counts().values()]
    assert sorted(name for bank in banks for name in bank.class_names) == NAMES
    for bank in banks:
        assert list(bank.class_names) == sorted(bank.class_names)
        assert bank.image_shape == (3, 32, 32)
        for label, name in enumerate(bank.class_names):
            expected = np.concatenate([PIXELS[p][NAMES.index(name) == LABELS[p]] for p in PARTS])
            chosen = bank.labels == label
            # Red, then green, then blue, each row by row; training images first.
            assert np.array_equal(bank.images[chosen].flatten(1), expected)
            assert bank.attributes["superclass"][chosen].unique().tolist() == [SUPERCLASS_OF[name]]


def test_the_published_splits(tmp_path, zipped):
    zipped()
    fs, fc100 = CIFAR_FS(tmp_path).splits(), FC100(tmp_path).splits()
    names = [" ".join(bank.class_names) for bank in (fs.validation, fs.test)]
    digests = [hashlib.md5(text.encode()).hexdigest()[:8] for text in names]
    assert digests == ["94095606", "6a012cbc"]
    assert fs.train.n_classes == 64
    # By the numbers that are passed on with the dataset.
    seen = [bank.attributes["superclass"].unique().tolist() for bank in vars(fc100).values()]
    assert seen == [[1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19], [8, 11, 13, 16], [0, 7, 12, 14]]


@pytest.mark.parametrize("place", [".", "cifar-100", "cifar100"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_places(place, dataset, tmp_path, contents, zipped, same, listed, decoded_once):
    path, folder = zipped(), write_folder(tmp_path / "here" / place, contents)
    here = dataset(tmp_path / "here")
    assert same(here.splits(), dataset(tmp_path).splits())
    listed(here, folder, 100, 400)
    decoded_once(here, folder / "meta")
    decoded_once(dataset(tmp_path), path)


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
def test_a_file_of_something_else(part, changes, message, contents, fails):
    contents[part].update(changes)
    fails(part, message)


@pytest.mark.parametrize("part", ["train", "test", "meta"])
def test_a_missing_file(part, tmp_path, contents, zipped, refused):
    del contents[part]
    refused(CIFAR_FS(tmp_path), f"{zipped()}: expected CIFAR-100, found no file {part}")
    refused(FC100(tmp_path), f"{write_folder(tmp_path, contents)}/{part}: not found")


def test_classes_that_are_not_cifars(tmp_path, contents, zipped, refused):
    first = contents["train"]["coarse_labels"][0]
    contents["train"]["coarse_labels"][0] ^= 1
    message = f"the class {NAMES[LABELS['train'][0]]} is in several superclasses"
    refused(CIFAR_FS(tmp_path), f"{zipped()}: {message}")
    contents["train"]["coarse_labels"][0] = first
    meta = contents["meta"]
    contents["meta"] = {key: [f"{name} " for name in names] for key, names in meta.items()}
    for dataset, name in ((CIFAR_FS, NAMES[0]), (FC100, "aquatic_mammals")):
        refused(dataset(tmp_path), f"{zipped()}: expected CIFAR-100's classes, found no {name}")
    for part in PARTS:
        labels = contents[part]["fine_labels"]
        contents[part]["fine_labels"] = [label or 53 for label in labels]
    contents["meta"] = meta
    refused(CIFAR_FS(tmp_path), f"{zipped()}: the class {NAMES[0]} has no images")


def test_hostile_pickle(tmp_path, contents, fails, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents["meta"]["more"] = attack
    fails("meta", "refused: the pickle names posix.system")
    assert not (tmp_path / "attacked").exists()


def test_damaged_archive(tmp_path, zipped, refused):
    path = zipped()
    content = path.read_bytes()
    for damaged in (b"", content[:20], content[:5000], content[:500_000], b"<html></html>"):
        path.write_bytes(damaged)
        refused(CIFAR_FS(tmp_path), str(path), "not a complete")


@pytest.mark.parametrize("dataset", DATASETS)
def test_download(dataset, tmp_path, server, serve, contents, monkeypatch):
    assert cifar.FILE.md5 == CIFAR100.tgz_md5
    (file,) = serve({cifar.ARCHIVE: archive(contents)})
    monkeypatch.setattr(cifar, "FILE", file)
    assert len(dataset(tmp_path, download=True).splits().test) == 80
    n_asked = len(server.asked)
    dataset(tmp_path).download()
    assert len(server.asked) == n_asked, "what is there is not downloaded again"
