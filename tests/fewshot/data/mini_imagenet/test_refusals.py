import shutil
import zipfile

import pytest

from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.mini_imagenet.splits import TEST, TRAIN


@pytest.fixture
def fails(refused):
    """``fails(root, *words)``: reading and listing fail with the words."""
    return lambda root, *words: refused(MiniImageNet(root), *words, listing=True)


def copy(folder, form, old, split, new, edit):
    """Give the images of a training class to another class too, perhaps in another split."""
    if form == "folders":
        shutil.copytree(folder / "train" / old, folder / split / new)
    elif form == "lists":
        with open(folder / f"{split}.csv", "a") as file:
            file.write(f"not_listed.png,{new}\n")
    else:
        edit(folder, split, lambda content: content["class_dict"].update({new: [0]}))


@pytest.mark.parametrize("form", ["folders", "lists", "pickles"])
def test_an_unknown_class_and_a_class_in_two_splits(form, make, edit, fails, tmp_path):
    root, folder = make(form)
    shutil.copytree(folder, tmp_path / "twice" / "mini-imagenet")
    copy(folder, form, TRAIN[0], "train", "n00000001", edit)
    fails(root, f"{folder}: the class n00000001 is not one of miniImageNet's 100 synsets")
    copy(tmp_path / "twice" / "mini-imagenet", form, TRAIN[7], "test", TRAIN[7], edit)
    fails(tmp_path / "twice", f"the class {TRAIN[7]} is ")


def test_folders_of_other_classes(make, fails):
    root, folder = make("folders")
    (folder / "test" / TEST[7]).rename(folder / "train" / TEST[7])
    fails(root, f"{folder}: the class {TEST[7]} is in train, expected it in test")
    shutil.rmtree(folder / "train" / TEST[7])
    fails(root, f"{folder}: expected miniImageNet's 100 classes, found 99: {TEST[7]} (test)")
    for split in ("val", "test"):
        shutil.rmtree(folder / split)
    fails(root, f"{folder}: expected miniImageNet's 100 classes, found 64: ")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in (folder / "train").glob("*/*.png"):
            archive.write(path, path.relative_to(folder / "train"))
    shutil.rmtree(folder / "train")
    fails(root, f"{folder}: expected the class folders in train/, val/ and test/")


FIRST = f"{TRAIN[0]}00000000.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html></html>\n", "expected the first line filename,label"),
        ("", "expected the first line filename,label"),
        ("filename,label\nn1.png\n", "line 2: expected an image and its class, got ['n1.png']"),
        ("filename,label\n\xff\n", "not a readable list"),
        (f"filename,label\ngone.png,{TEST[0]}\n", "gone.png: expected one image of this name in "),
        (f"filename,label\n{FIRST},{TEST[0]}\n", f"{FIRST}: listed before, as {TRAIN[0]}"),
    ],
)
def test_a_list_of_something_else(content, message, make, fails):
    root, folder = make("lists")
    (folder / "test.csv").write_text(content, encoding="latin1")
    fails(root, f"{folder / 'test.csv'}: ", message)


def test_missing_and_ambiguous_parts_of_the_lists(make, fails):
    root, folder = make("lists")
    (folder / "images" / "more").mkdir()
    shutil.copy(folder / "images" / FIRST, folder / "images" / "more")
    fails(root, f"{folder / 'train.csv'}: {FIRST}: expected one image of this name", "several")
    (folder / "train.csv").unlink()
    fails(root, f"{folder / 'train.csv'}: not a readable list of images (")
    shutil.rmtree(folder / "images")
    fails(root, f"{folder}: expected images/ or images.zip beside train.csv")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_missing_and_damaged_pickles(split, make, fails):
    root, folder = make("pickles")
    path = folder / f"mini-imagenet-cache-{split}.pkl"
    for content in (path.read_bytes()[:900_000], b"<!DOCTYPE html>\n<html></html>", b""):
        path.write_bytes(content)
        fails(root, f"{path}: not a complete pickle")
    path.unlink()
    fails(root, f"{path}: not found")


ROWS = f"{TEST[0]}: expected a list of rows"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("image_data"), "expected a dict with image_data"),
        (lambda c: c.update(class_dict=[]), "expected a dict with image_data"),
        (lambda c: c["class_dict"].update({TEST[0]: []}), ROWS),
        (lambda c: c["class_dict"].update({TEST[0]: "ab"}), ROWS),
        (lambda c: c["class_dict"].update({TEST[0]: [0.5]}), ROWS),
        (lambda c: c["class_dict"].update({TEST[0]: [-1]}), ROWS),
        (lambda c: c["class_dict"].update({7: [0]}), "class_dict: expected names as keys, got int"),
        # What only the images tell
        (lambda c: c.update(image_data=c["image_data"][1:]), "59 images in one class, found image"),
        (lambda c: c.update(image_data=c["image_data"][:, :80]), "got uint8 [60, 80, 84, 3]"),
        (lambda c: c.update(image_data=c["image_data"] / 255), "got float64 [60, 84, 84, 3]"),
        (lambda c: c["class_dict"][TEST[0]].append(60), f"found image 60 in {TEST[0]}"),
        (lambda c: c["class_dict"][TEST[0]].append(2**50), f"found image {2**50} in {TEST[0]}"),
        (lambda c: c["class_dict"][TEST[0]].pop(), "60 images in one class,"),
        (lambda c: c["class_dict"].update({TEST[0]: c["class_dict"][TEST[1]]}), "60 images in one"),
    ],
)
def test_a_pickle_of_something_else(change, message, make, edit, refused):
    root, folder = make("pickles")
    path = edit(folder, "test", change)
    refused(MiniImageNet(root), f"{path}: ", message, listing="expected" in message)


def test_hostile_pickle(make, edit, fails, attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, folder = make("pickles")
    path = edit(folder, "validation", lambda content: content.update(more=[attack]))
    fails(root, f"{path}: refused: the pickle names posix.system")
    assert not (tmp_path / "attacked").exists()
