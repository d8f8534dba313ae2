import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data.checks import read_splits
from fewshot.data.folder import ImageFolder, SharedImagesWarning
from fewshot.data.io.images import SkippedImagesWarning
from guided.errors import InputError


def picture(seed):
    """Smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4)).astype(np.uint8)
    return Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC)


def make_classes(root, names, n_images=3, first=0):
    for c, name in enumerate(names.split()):
        (root / name).mkdir(parents=True)
        for i in range(n_images):
            picture(first + 100 * c + i).save(root / name / f"{i}.png")


@pytest.fixture
def classes(tmp_path):
    """Eight classes of three grey images."""
    make_classes(tmp_path / "own", "a b c d e f g h")
    return tmp_path / "own"


@pytest.fixture
def divided(tmp_path):
    """The same with split folders; names are not in the splits' order."""
    for split, names, first in (("train", "m n o", 0), ("val", "z b", 1000), ("test", "a", 2000)):
        make_classes(tmp_path / "divided" / split, names, first=first)
    return tmp_path / "divided"


def opened(path, **options):
    return ImageFolder(Path("nowhere"), path=path, **options)


def names(dataset):
    splits = dataset.splits()
    return [bank.class_names for bank in (splits.train, splits.validation, splits.test)]


def test_classes_are_divided_by_the_seed(classes):
    first = names(opened(classes))
    assert [len(part) for part in first] == [5, 1, 2]
    assert sorted(name for part in first for name in part) == list("abcdefgh")
    assert all(list(part) == sorted(part) for part in first)
    assert names(opened(classes)) == first
    assert any(names(opened(classes, split_seed=seed)) != first for seed in range(1, 5))
    assert [len(part) for part in names(opened(classes, validation=0.5, test=0.25))] == [2, 4, 2]
    assert [len(part) for part in names(opened(classes, validation=0.01, test=0.01))] == [6, 1, 1]


def test_split_folders_are_the_splits(divided):
    assert names(opened(divided)) == [("m", "n", "o"), ("b", "z"), ("a",)]
    (divided / "val").rename(divided / "validation")
    assert names(opened(divided)) == [("m", "n", "o"), ("b", "z"), ("a",)]
    splits = opened(divided).splits()
    assert splits.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.test.targets().keys() == {"class"}
    with pytest.raises(InputError, match=r"divided has split folders"):
        opened(divided, split_seed=1).splits()


@pytest.mark.parametrize("layout", ["classes", "divided"])
def test_archives_give_the_same_banks(layout, tmp_path, request, same, listed, refused):
    source = request.getfixturevalue(layout)
    listed(opened(source), source, *((8, 24) if layout == "classes" else (6, 18)))
    expected = opened(source).splits()
    one = Path(shutil.make_archive(str(tmp_path / "one"), "zip", source))
    (tmp_path / "parts").mkdir()
    images = sorted(source.glob("**/*.png"))
    for part in range(2):
        with zipfile.ZipFile(tmp_path / "parts" / f"part-{part}.zip", "w") as archive:
            for path in images[part::2]:
                archive.write(path, path.relative_to(source))
    tar = Path(shutil.make_archive(str(tmp_path / "two"), "xztar", tmp_path, source.name))
    for path in (one, tmp_path / "parts", tar, tar / source.name):
        assert same(opened(path).splits(), expected)
    one.write_bytes(one.read_bytes()[:-100])
    refused(opened(one), f"{one}: not a complete zip archive", listing=True)


def test_other_layouts(tmp_path, classes, divided, refused):
    def fails(path, *words):
        refused(opened(path), *words, listing=True)

    fails(tmp_path / "no", "ImageFolder.path", str(tmp_path / "no"), "<class>/<image>")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", str(tmp_path / "empty"), "<class>/<image>", "found none")
    for folder, outer in ((classes, classes), (divided, divided / "val")):
        (outer / "empty").mkdir()
        (outer / "empty" / "notes.txt").write_text("no image")
        fails(folder, f"{outer / 'empty'}: expected the images of a class, found none")
        shutil.rmtree(outer / "empty")
    picture(0).save(classes / "cover.png")
    fails(classes, f"{classes}: expected <class>/<image>", "1 image elsewhere: cover.png; move")
    make_classes(divided / "test", "n", first=5000)
    fails(divided, "the class n is in test/ and in train/; expected each class in one split: set")


def test_not_every_split_is_needed(tmp_path, divided):
    """A split may be empty; what needs it is refused, and told how to fill it."""
    shutil.rmtree(divided / "val")
    assert names(opened(divided)) == [("m", "n", "o"), (), ("a",)]
    assert names(opened(divided / "train", validation=0, test=1)) == [(), (), ("m", "n", "o")]
    make_classes(tmp_path / "two", "a b")
    two = opened(tmp_path / "two")
    assert [len(part) for part in names(two)] == [0, 1, 1]
    assert [len(part) for part in names(opened(tmp_path / "two", test=1, validation=0))] == [
        0,
        0,
        2,
    ]
    assert [len(part) for part in names(opened(tmp_path / "two", test=0, validation=0))] == [
        2,
        0,
        0,
    ]
    for dataset, split, message in (
        (opened(divided), "validation", r"\(found 3 train, 0 validation, 1 test\); "
         rf"put class folders into {divided}/val/$"),
        (two, "train", rf"add classes to {tmp_path}/two, or lower validation and test$"),
        (opened(tmp_path / "two", validation=0), "validation", r"two, or raise validation, a fr"),
        (opened(divided, min_images=3), "validation", r"/val/, or lower min_images$"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^ImageFolder: no {split} classes.*{message}"):
            dataset.splits_with(split)
    assert two.splits_with("validation", "test").bank("all").class_names == ("a", "b")


def test_the_same_classes_in_train_and_test(tmp_path, same):
    """As in CIFAR as PNG, and in most data sets of competitions."""
    make_classes(tmp_path / "own" / "train", "a b c d e f g h", 4)
    make_classes(tmp_path / "own" / "test", "a b c d e f g h", 2, first=5000)
    merged = opened(tmp_path / "own", merge_splits=True).splits()
    assert [bank.n_classes for bank in vars(merged).values()] == [5, 1, 2]
    assert merged.bank("all").class_sizes.tolist() == [6] * 8
    alone = opened(tmp_path / "own" / "train").splits()
    assert names(opened(tmp_path / "own", merge_splits=True)) == [
        bank.class_names for bank in vars(alone).values()
    ]
    assert alone.bank("all").class_sizes.tolist() == [4] * 8
    # Two parts of one archive are two banks, although the archive is the same file.
    archive = Path(shutil.make_archive(str(tmp_path / "own"), "gztar", tmp_path, "own"))
    for inside, expected in (
        ("own/train", alone),
        ("own/test", opened(tmp_path / "own/test").splits()),
    ):
        assert same(opened(archive / inside).splits(), expected)
    assert same(opened(archive, merge_splits=True).splits(), merged)


def test_small_classes_are_left_out_and_no_other_changes_its_split(tmp_path):
    for i, n in enumerate([9, 8, 7, 6, 5, 4, 3, 2]):
        make_classes(tmp_path / "own", "abcdefgh"[i], n, first=100 * i)
    every, enough = opened(tmp_path / "own"), opened(tmp_path / "own", min_images=6)
    for before, after in zip(names(every), names(enough), strict=True):
        assert after == tuple(name for name in before if name in "abcd")
    assert enough.splits().bank("all").class_sizes.tolist() == [9, 8, 7, 6]
    with pytest.raises(InputError, match=r"^ImageFolder.min_images: expected at most 9, got 10$"):
        opened(tmp_path / "own", min_images=10).splits()


def test_images_shared_between_splits(divided):
    shutil.copy(divided / "train" / "n" / "1.png", divided / "val" / "b" / "copy.png")
    # Another format, other bytes, the same pixels.
    Image.open(divided / "train" / "m" / "0.png").save(divided / "test" / "a" / "copy.bmp")
    # A copy within a split is no concern.
    shutil.copy(divided / "train" / "m" / "0.png", divided / "train" / "m" / "copy.png")
    for _ in range(2):  # also when the bank comes from the cache
        with pytest.warns(SharedImagesWarning) as caught:
            opened(divided).splits()
        (message,) = [str(warning.message) for warning in caught]
        assert message.startswith(f"{divided}: 2 images are in two splits")
        assert "train/n/1.png (train) and val/b/copy.png (validation)" in message


def test_each_way_of_decoding_is_cached_until_a_source_changes(classes, decoded_once):
    seen = [
        opened(classes, **options).splits().test.images
        for options in ({}, {"size": 10}, {"channels": 3}, {"invert": True}, {})
    ]
    shapes = [tuple(images.shape[1:]) for images in seen]
    assert shapes[:4] == [(1, 28, 28), (1, 10, 10), (3, 28, 28), (1, 28, 28)]
    assert torch.equal(seen[0], 255 - seen[3])
    assert torch.equal(seen[0], seen[4])
    decoded_once(opened(classes), classes / "a" / "0.png")
    picture(8888).save(classes / "a" / "3.png")
    assert sum(map(len, vars(opened(classes).splits()).values())) == 25


def test_relative_paths(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ImageFolder(path="~/own").listing().where == str(classes)
    here = ImageFolder([tmp_path / "nowhere", tmp_path / "elsewhere"], path="own")
    make_classes(tmp_path / "elsewhere" / "own", "x y z")
    assert here.listing().images == 24, "the working directory comes first"
    monkeypatch.chdir(tmp_path / "elsewhere" / "own")
    assert here.listing().images == 9
    with pytest.raises(InputError, match=r"folder: cannot be downloaded; put a folder of images"):
        here.download()


def test_images_in_formats_that_are_not_read_are_counted_in_a_warning(classes, tmp_path, refused):
    for name in ("notes.txt", "labels.xml", "Thumbs.db", ".DS_Store", "._1.heic", "readme"):
        (classes / "a" / name).write_bytes(b"")
    assert len(ImageFolder(path=classes).splits().train) == 15  # and no warning
    for name in ("b/x.HEIC", "c/y.avif", "a/z.CR2"):
        (classes / name).write_bytes(b"")
    with pytest.warns(SkippedImagesWarning, match=r"own: 3 images left out, such as a/z\.CR2"):
        assert len(ImageFolder(path=classes).splits().train) == 15
    _, said = read_splits(ImageFolder(path=classes))
    assert "3 images left out, such as a/z.CR2" in said[0], "a command prints it once"
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", classes)
    (classes / "b" / "x.HEIC").unlink()
    with pytest.warns(SkippedImagesWarning, match=r"packed\.zip: 3 images left out"):
        ImageFolder(path=archive).splits()
