import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot.data import ImageBank
from fewshot.data.folder import ImageFolder, SharedImagesWarning
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import SPLIT_OF, TEST, TRAIN, VALIDATION

Same = Callable[[ImageBank, ImageBank], bool]
Images = Mapping[str, "list[np.ndarray[Any, Any]]"]

SYNSETS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
FORMS = ("folders", "archives", "lists", "lists, archive", "pickles")
N_IMAGES = 3


def file_name(synset, i):
    return f"{synset}{i:08}.png"


def banks(splits):
    return [splits.train, splits.validation, splits.test]


@pytest.mark.parametrize("size", [84, 16])
def test_every_form_gives_the_same(size, make, same, images):
    first, *others = (banks(MiniImageNet(make(form)[0], size=size).splits()) for form in FORMS)
    for other in others:
        assert all(map(same, first, other))
    n_bytes, start = 3 * size * size, first[0].images.data_ptr()
    for bank, names in zip(first, SYNSETS.values(), strict=True):
        assert bank.class_names == tuple(sorted(names))
        assert bank.class_sizes.tolist() == [N_IMAGES] * len(names)
        assert bank.targets().keys() == {"class"}
        assert bank.image_shape == (3, size, size)
        assert bank.images.data_ptr() == start, "splits are views of one array"
        start += len(bank) * n_bytes
        if size == 84:
            expected = np.stack([image for name in sorted(names) for image in images[name]])
            assert np.array_equal(bank.images.permute(0, 2, 3, 1), expected)


def test_an_image_folder_gives_the_same(make, same):
    root, folder = make("folders")
    own = ImageFolder(root, path=folder, size=32, channels=3).splits()
    assert all(map(same, banks(own), banks(MiniImageNet(root, size=32).splits())))


@pytest.mark.parametrize("place", ["mini_imagenet", "miniImagenet", "miniimagenet", "."])
def test_places(place, make, tmp_path):
    _, folder = make("pickles")
    (tmp_path / "data" / "mini-imagenet").mkdir(parents=True)
    (tmp_path / "data" / place).mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.rename(tmp_path / "data" / place / path.name)
    listing = MiniImageNet(tmp_path / "data").listing()
    assert listing.where == f"{tmp_path / 'data' / place}: 3 images a class"


@pytest.mark.parametrize(
    ("form", "others"),
    [
        ("folders", ["val.csv", "mini-imagenet-cache-test.pkl"]),
        ("lists", ["mini-imagenet-cache-test.pkl"]),
    ],
)
def test_later_forms_are_not_looked_at(form, others, make):
    root, folder = make(form)
    for name in others:
        (folder / name).write_bytes(b"<html>")
    assert MiniImageNet(root).listing().images == 300


@pytest.mark.parametrize("form", FORMS)
def test_listing(form, make, monkeypatch):
    monkeypatch.setattr("fewshot.data.mini_imagenet.sources.decode", None)
    root, folder = make(form)
    found = MiniImageNet(root).listing()
    assert (found.name, found.found) == ("mini_imagenet", True)
    assert (found.classes, found.images) == (100, 300)
    assert found.where == f"{folder}: 3 images a class"


def test_listing_of_unequal_classes(make):
    root, folder = make("folders")
    next(iter((folder / "test" / TEST[3]).iterdir())).unlink()
    listing = MiniImageNet(root).listing()
    assert (listing.images, listing.where) == (299, f"{folder}: 2 to 3 images a class")
    assert MiniImageNet(root).splits().test.class_sizes.tolist() == [3] * 3 + [2] + [3] * 16


@pytest.mark.parametrize("form", FORMS)
def test_decoded_once_until_a_source_changes(form, make, monkeypatch):
    root, folder = make(form)
    first = MiniImageNet(root).splits().train
    monkeypatch.setattr("fewshot.data.mini_imagenet.sources.decode", None)
    monkeypatch.setattr("fewshot.data.mini_imagenet.sources.load_pickle", None)
    assert torch.equal(MiniImageNet(root).splits().train.images, first.images)
    with pytest.raises(TypeError):
        MiniImageNet(root, size=20).splits()
    changed = next(path for path in sorted(folder.glob("**/*")) if path.is_file())
    os.utime(changed, ns=(1, 1))
    with pytest.raises(TypeError):
        MiniImageNet(root).splits()


@pytest.mark.parametrize("form", ["archives", "pickles"])
def test_large_sets_are_decoded_into_a_file(form, make, monkeypatch, images):
    monkeypatch.setattr("fewshot.data.io.cache.IN_MEMORY", 0)
    bank = MiniImageNet(make(form)[0]).splits().test
    assert np.array_equal(bank.images[-1].permute(1, 2, 0), images[max(TEST)][-1])


@pytest.mark.parametrize("form", ["folders", "archives", "lists", "pickles"])
def test_images_shared_between_splits(form, tmp_path, images, pngs, write):
    one, two = sorted(TRAIN)[5], sorted(VALIDATION)[2]
    seen = {**images, two: [*images[two][:2], images[one][1]]}
    shared = {**pngs, two: [*pngs[two][:2], pngs[one][1]]}
    folder = write(tmp_path, form, images=seen, pngs=shared)
    names = {
        "lists": [file_name(one, 1), file_name(two, 2)],
        "pickles": [f"image 1 of {one}", f"image 2 of {two}"],
    }.get(form, [f"train/{one}/{file_name(one, 1)}", f"val/{two}/{file_name(two, 2)}"])
    for _ in range(2):  # also when the bank comes from the cache
        with pytest.warns(SharedImagesWarning) as caught:
            MiniImageNet(tmp_path).splits()
        assert [str(warning.message) for warning in caught] == [
            f"{folder}: 1 byte-identical images in two splits, such as "
            f"{names[0]} (train) and {names[1]} (validation)"
        ]


def test_class_counts(tmp_path):
    assert MiniImageNet(tmp_path).class_counts() == {"train": 64, "validation": 16, "test": 20}
    assert len(SPLIT_OF) == 100


def test_real_split_and_shared_image(real, tmp_path):
    root = real("mini-imagenet")
    parts = sorted((root / "mini-imagenet").glob("*.zip"))
    if len(parts) != 3:
        pytest.skip("needs the three archives of 100 images a class")
    listing = MiniImageNet(root).listing()
    assert (listing.found, listing.classes, listing.images) == (True, 100, 30_000)
    assert listing.where.endswith(": 300 images a class")
    # Ten images of each class, and all of the two that share one.
    (tmp_path / "mini-imagenet").mkdir()
    for part in parts:
        chosen: dict[str, list[str]] = {}
        with zipfile.ZipFile(part) as source:
            for name in source.namelist():
                chosen.setdefault(Path(name).parent.name, []).append(name)
            with zipfile.ZipFile(tmp_path / "mini-imagenet" / part.name, "w") as few:
                for synset, names in chosen.items():
                    n = None if synset in ("n04389033", "n02950826") else 3
                    for name in sorted(names)[:n]:
                        few.writestr(name, source.read(name))
    with pytest.warns(SharedImagesWarning, match=r"1 byte-identical .*n04389033.*n02950826"):
        splits = MiniImageNet(tmp_path).splits()
    assert [bank.n_classes for bank in banks(splits)] == [64, 16, 20]
    assert splits.test.class_sizes.tolist() == [9] * 20
    # The training images' mean that is commonly subtracted, 120.4, 115.6, 104.5 of 255.
    equal = splits.train.rows((splits.train.labels != TRAIN.index("n04389033")).nonzero()[:, 0])
    means = equal.images.float().mean((0, 2, 3))
    assert torch.allclose(means, torch.tensor([120.4, 115.6, 104.5]), atol=5)


def test_no_warning_without_shared_images(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MiniImageNet(make("pickles")[0], size=8).splits()
