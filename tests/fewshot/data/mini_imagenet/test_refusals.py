import os
import shutil
import zipfile

import pytest

from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST, TRAIN
from guided.errors import InputError


def file_name(synset, i):
    return f"{synset}{i:08}.png"


def fails(root, *words):
    with pytest.raises(InputError) as caught:
        MiniImageNet(root).splits()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def fails_when_listed(root, *words):
    fails(root, *words)
    listing = MiniImageNet(root).listing()
    assert not listing.found
    assert all(word in listing.where for word in words)


def move(folder, form, old, new, edit):
    """Rename a class of the training split."""
    if form == "folders":
        (folder / "train" / old).rename(folder / "train" / new)
    elif form == "lists":
        path = folder / "train.csv"
        path.write_text(path.read_text().replace(f",{old}", f",{new}"))
    else:
        edit(folder, "train", lambda c: c["class_dict"].update({new: c["class_dict"].pop(old)}))


@pytest.mark.parametrize("form", ["folders", "lists", "pickles"])
def test_unknown_class(form, make, edit):
    root, folder = make(form)
    move(folder, form, TRAIN[0], "n00000001", edit)
    fails_when_listed(
        root, f"{folder}: the class n00000001 is not one of miniImageNet's 100 synsets"
    )


def test_missing_class_and_class_in_another_split(make, edit):
    root, folder = make("folders")
    (folder / "test" / TEST[7]).rename(folder / "train" / TEST[7])
    expected = f"{folder}: the class {TEST[7]} is in train, expected it in test"
    fails_when_listed(root, expected)
    shutil.rmtree(folder / "train" / TEST[7])
    expected = f"{folder}: expected miniImageNet's 100 classes, found 99: {TEST[7]} (test)"
    fails_when_listed(root, expected)


@pytest.mark.parametrize("form", ["folders", "lists", "pickles"])
def test_class_in_two_splits(form, make, edit):
    root, folder = make(form)
    name = TRAIN[7]
    if form == "folders":
        shutil.copytree(folder / "train" / name, folder / "test" / name)
    elif form == "lists":
        with open(folder / "test.csv", "a") as file:
            file.write(f"another.png,{name}\n")
    else:
        edit(folder, "test", lambda content: content["class_dict"].update({name: [0]}))
    fails_when_listed(root, f"the class {name} is ")


def test_class_folders_without_splits(make):
    root, folder = make("folders")
    for split in ("val", "test"):
        for path in (folder / split).iterdir():
            path.rename(folder / "train" / path.name)
        (folder / split).rmdir()
    fails_when_listed(root, "in train/, val/ and test/, found no validation images")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in (folder / "train").glob("*/*.png"):
            archive.write(path, path.relative_to(folder / "train"))
    shutil.rmtree(folder / "train")
    fails_when_listed(root, f"{folder}: expected the class folders in train/, val/ and test/")


# Lists


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html></html>\n", "expected the first line filename,label"),
        ("", "expected the first line filename,label"),
        ("filename,label\nn1.png\n", "line 2: expected an image and its class, got ['n1.png']"),
        ("filename,label\n\xff\n", "not a readable list"),
        (f"filename,label\ngone.png,{TEST[0]}\n", "gone.png: expected one image of this name in "),
        (f"filename,label\n{file_name(TRAIN[0], 0)},{TEST[0]}\n", f"before, as {TRAIN[0]}"),
    ],
)
def test_a_list_of_something_else(content, message, make):
    root, folder = make("lists")
    (folder / "test.csv").write_text(content, encoding="latin1")
    fails_when_listed(root, f"{folder / 'test.csv'}: ", message)


def test_missing_parts_of_the_lists(make):
    root, folder = make("lists")
    shutil.rmtree(folder / "images")
    fails_when_listed(root, f"{folder}: expected images/ or images.zip beside train.csv")
    (folder / "images").mkdir()
    (folder / "train.csv").unlink()
    fails_when_listed(root, f"{folder / 'train.csv'}: not a readable list of images (")


def test_a_listed_image_in_two_folders(make):
    root, folder = make("lists")
    (folder / "images" / "more").mkdir()
    name = file_name(TRAIN[0], 0)
    shutil.copy(folder / "images" / name, folder / "images" / "more")
    fails_when_listed(root, f"{folder / 'train.csv'}: {name}: expected one image of this name in ")


# Pickles


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_missing_pickle(split, make):
    root, folder = make("pickles")
    (folder / f"mini-imagenet-cache-{split}.pkl").unlink()
    fails_when_listed(root, f"{folder}/mini-imagenet-cache-{split}.pkl: not found")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("image_data"), "expected a dict with image_data"),
        (lambda c: c.update(class_dict=[]), "expected a dict with image_data"),
        (lambda c: c["class_dict"].update({TEST[0]: []}), f"{TEST[0]}: expected a list of"),
        (lambda c: c["class_dict"].update({TEST[0]: "ab"}), f"{TEST[0]}: expected a list of"),
        (lambda c: c["class_dict"].update({TEST[0]: [0.5]}), f"{TEST[0]}: expected a list of"),
        (lambda c: c["class_dict"].update({TEST[0]: [-1]}), f"{TEST[0]}: expected a list of"),
        (lambda c: c["class_dict"].update({7: [0]}), "class_dict: expected names as keys, got int"),
    ],
)
def test_a_pickle_of_something_else(change, message, make, edit):
    root, folder = make("pickles")
    path = edit(folder, "test", change)
    fails_when_listed(root, f"{path}: ", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(image_data=c["image_data"][1:]), "59 images in one class, found image"),
        (lambda c: c.update(image_data=c["image_data"][:, :80]), "got uint8 [60, 80, 84, 3]"),
        (lambda c: c.update(image_data=c["image_data"] / 255), "got float64 [60, 84, 84, 3]"),
        (
            lambda c: c["class_dict"][TEST[0]].append(60),
            f"60 images in one class, found image 60 in {TEST[0]}",
        ),
        (
            lambda c: c["class_dict"][TEST[0]].append(2**50),
            f"one class, found image {2**50} in {TEST[0]}",
        ),
        (lambda c: c["class_dict"][TEST[0]].pop(), "60 images in one class,"),
        (lambda c: c["class_dict"].update({TEST[0]: c["class_dict"][TEST[1]]}), "60 images in one"),
    ],
)
def test_pickled_images_of_something_else(change, message, make, edit):
    root, folder = make("pickles")
    path = edit(folder, "test", change)
    fails(root, f"{path}: ", message)


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_hostile_pickle(make, edit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, folder = make("pickles")
    path = edit(folder, "validation", lambda content: content.update(more=[Attack()]))
    fails_when_listed(root, f"{path}: refused: the pickle names posix.system")
    assert not (tmp_path / "attacked").exists()


def test_damaged_pickle(make):
    root, folder = make("pickles")
    path = folder / "mini-imagenet-cache-train.pkl"
    for content in (path.read_bytes()[:3_000_000], b"<!DOCTYPE html>\n<html></html>", b""):
        path.write_bytes(content)
        fails_when_listed(root, f"{path}: not a complete pickle")
