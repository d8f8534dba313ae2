"""A small CelebA: lists, splits by person, crops, and what is refused."""

import hashlib
import io
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from fewshot.data.celeba import CelebA
from fewshot.episodes import Setting
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError

NAMES = ["5_o_Clock_Shadow", "Eyeglasses", "Smiling"]
# Person, split: in the file's order; the numbers are not.
ROWS = [
    *((7, 0), (3, 0), (7, 0), (12, 1), (3, 0), (7, 0), (5, 2), (12, 1), (9, 0), (12, 1)),
    *((5, 2), (4, 2), (11, 1), (5, 2), (7, 0), (3, 0)),
]
FILES = [f"{i + 1:06}.jpg" for i in range(len(ROWS))]
ATTRIBUTES = np.random.default_rng(0).choice([-1, 1], (len(ROWS), 3))


def face(row):
    """218 high, 178 wide; white above and below the middle square, whose colour tells the row."""
    pixels = np.full((218, 178, 3), 255, np.uint8)
    pixels[20:198] = (40 + 10 * row, 100, 200 - 10 * row)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def colour(bank):
    """The row in the lists that each image is of."""
    red = bank.images[:, 0, 2:-2, 2:-2].float().mean((1, 2))
    return ((red - 40) / 10).round().int().tolist()


@pytest.fixture
def folder(tmp_path):
    """``data/celeba`` as it lies when the archive is extracted."""
    folder = tmp_path / "data" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for row, name in enumerate(FILES):
        (folder / "img_align_celeba" / name).write_bytes(face(row))
    lines = [f"{name} {person}" for name, (person, _) in zip(FILES, ROWS, strict=True)]
    (folder / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{name} {split}" for name, (_, split) in zip(FILES, ROWS, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    lines = [
        f"{name} " + " ".join(f"{value:2}" for value in values)
        for name, values in zip(FILES, ATTRIBUTES, strict=True)
    ]
    header = [str(len(FILES)), " ".join(NAMES) + " "]
    (folder / "list_attr_celeba.txt").write_text("\n".join([*header, *lines]) + "\n")
    return folder


def edit(file, old, new):
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))


def pack(folder):
    """The images into the archive, as distributed."""
    shutil.make_archive(str(folder / "img_align_celeba"), "zip", folder, "img_align_celeba")
    shutil.rmtree(folder / "img_align_celeba")


def test_people_are_classes_in_their_split(folder):
    splits = CelebA(folder.parent, size=8).splits()
    # The most images first, then the lower number.
    assert splits.train.class_names == ("7", "3", "9")
    assert splits.validation.class_names == ("12", "11")
    assert splits.test.class_names == ("5", "4")
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 3 + [2]
    assert colour(splits.train) == [0, 2, 5, 14, 1, 4, 15, 8]
    assert colour(splits.validation) == [3, 7, 9, 12]
    assert colour(splits.test) == [6, 10, 13, 11]
    assert splits.train.images.shape == (8, 3, 8, 8)


def test_the_same_as_torchvisions(folder, monkeypatch):
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        lines = [str(len(FILES)), "x y", *(f"{file} 1 2" for file in FILES)]
        (folder / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    ours = CelebA(folder.parent, size=178).splits()
    crop = v2.Compose([v2.CenterCrop(178), v2.PILToTensor()])
    for split, bank in (("train", ours.train), ("valid", ours.validation), ("test", ours.test)):
        theirs = datasets.CelebA(str(folder.parent), split, ["attr", "identity"], transform=crop)
        order = torch.tensor([theirs.filename.index(FILES[row]) for row in colour(bank)])
        people = [bank.class_names[label] for label in bank.labels]
        assert [int(bank_name) for bank_name in people] == theirs.identity[order, 0].tolist()
        assert torch.equal(torch.stack(list(bank.attributes.values()), 1), theirs.attr[order])
        assert torch.equal(bank.images, torch.stack([theirs[i][0] for i in order.tolist()]))


def test_an_archive_is_as_good_as_its_folder(folder, same, tmp_path):
    loose = CelebA(folder.parent, size=8).splits()
    shutil.copytree(folder, tmp_path / "zipped" / "celeba")
    pack(tmp_path / "zipped" / "celeba")
    (tmp_path / "incomplete" / "celeba").mkdir(parents=True)
    packed = CelebA([tmp_path / "incomplete", tmp_path / "zipped"], size=8).splits()
    for one, two in zip(vars(loose).values(), vars(packed).values(), strict=True):
        assert same(one, two)
    archive = tmp_path / "zipped" / "celeba" / "img_align_celeba.zip"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"img_align_celeba\.zip: not a complete zip archive"):
        CelebA(tmp_path / "zipped").splits()


def test_the_second_time_nothing_is_decoded(folder, same, no_decoding, monkeypatch):
    with monkeypatch.context() as patch:
        patch.undo()
        first = CelebA(folder.parent, size=8).splits()
    monkeypatch.setattr("fewshot.data.celeba.decode", None)
    again = CelebA(folder.parent, size=8, min_images=1).splits()
    assert same(first.train, again.train)
    # Whoever is left out, the cache is the same.
    assert CelebA(folder.parent, size=8, min_images=2).splits().train.n_classes == 2
    edit(folder / "identity_CelebA.txt", "000012.jpg 4", "000012.jpg 14")
    with pytest.raises(TypeError):
        CelebA(folder.parent, size=8).splits()


def test_people_of_few_images_are_left_out(folder):
    splits = CelebA(folder.parent, size=8, min_images=3).splits()
    assert [bank.class_names for bank in vars(splits).values()] == [("7", "3"), ("12",), ("5",)]
    assert splits.train.class_sizes.tolist() == [4, 3]
    everyone = CelebA(folder.parent, size=8).splits().train
    assert torch.equal(splits.train.images, everyone.images[:7])
    sampler = EpisodeSampler(splits.train, Setting(n_way=2, n_shot=1, n_query=2), seed=0)
    assert sampler[0].query.shape[1:] == (2, 2)
    with pytest.raises(InputError, match="9"):
        EpisodeSampler(everyone, Setting(n_way=3, n_shot=1, n_query=2), seed=0)
    with pytest.raises(
        InputError, match=r"min_images: expected at most 3, .* in the validation split, got 4"
    ):
        CelebA(folder.parent, size=8, min_images=4).splits()


def test_missing_images_are_named(folder):
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    (folder / "img_align_celeba" / "000016.jpg").unlink()
    with pytest.raises(
        InputError, match=r"expected the 16 images .*2 are missing, such as 000003\.jpg"
    ):
        CelebA(folder.parent).splits()
    shutil.rmtree(folder / "img_align_celeba")
    with pytest.raises(InputError, match=r"celeba/img_align_celeba\.zip not found in "):
        CelebA(folder.parent).splits()


DAMAGED = {
    "a line too few": ("list_attr_celeba.txt", "16\n", "17\n", "expected 17 lines of 3 numbers"),
    "a number too many": ("list_eval_partition.txt", "04.jpg 1", "04.jpg 1 1", r"each image \("),
    "no length": ("list_attr_celeba.txt", "16\n", "", "for each image \\("),
    "a number too few": ("list_eval_partition.txt", "04.jpg 1", "04.jpg", r"each image \("),
    "no number": ("identity_CelebA.txt", "000007.jpg 5", "000007.jpg five", "for each image \\("),
    "another image": ("identity_CelebA.txt", "000007.jpg", "000070.jpg", "in the same order"),
    "an unknown split": (
        *("list_eval_partition.txt", "000007.jpg 2", "000007.jpg 3"),
        r"000007\.jpg: expected 0 \(train\), 1 \(validation\) or 2 \(test\), got 3",
    ),
    "an attribute of 2": (
        *("list_attr_celeba.txt", f"000003.jpg {ATTRIBUTES[2, 0]:2}", "000003.jpg 2"),
        r"000003\.jpg: expected -1 or 1, got 2",
    ),
    "a split without images": (
        *("list_eval_partition.txt", ".jpg 2", ".jpg 1"),
        "images in each split, found none in test",
    ),
    "a person in two splits": (
        *("list_eval_partition.txt", "000007.jpg 2", "000007.jpg 0"),
        "found 1 in two, such as person 5",
    ),
}


@pytest.mark.parametrize(("name", "old", "new", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_lists(folder, name, old, new, message):
    edit(folder / name, old, new)
    with pytest.raises(InputError, match=message) as told:
        CelebA(folder.parent).splits()
    assert "\n" not in str(told.value)
    assert ".txt: " in str(told.value)


@pytest.mark.parametrize("content", ["", "<!DOCTYPE html>\n<html>quota exceeded</html>\n"])
@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "identity_CelebA.txt"])
def test_a_web_page_in_place_of_a_list(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: expected a line <image> <number> …"):
        CelebA(folder.parent).splits()
    assert CelebA(folder.parent).listing().found == (name != "identity_CelebA.txt")


def test_listing_counts_people_without_decoding(folder, monkeypatch):
    monkeypatch.setattr("fewshot.data.celeba.decode", None)
    found = CelebA(folder.parent).listing()
    assert (found.found, found.classes, found.images) == (True, 7, 16)
    assert found.where == str(folder)


def test_download_fetches_what_is_missing(folder, monkeypatch):
    name = "identity_CelebA.txt"
    content = (folder / name).read_bytes()
    fetched = []

    def download(id, output, **_):
        fetched.append(id)
        Path(output).write_bytes(content)

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
    published = [listed[::2] for listed in datasets.CelebA.file_list]
    (file_id,) = [file_id for file_id, listed in published if listed == name]
    (folder / name).unlink()
    with pytest.raises(
        InputError, match=rf"\d bytes that are not the file: .*; put {name} of http"
    ):
        CelebA(folder.parent, size=8, download=True).splits()
    files = [(file_id, hashlib.md5(content).hexdigest(), name)]
    monkeypatch.setattr(datasets.CelebA, "file_list", files)
    assert CelebA(folder.parent, size=8, download=True).splits().train.n_classes == 3
    CelebA(folder.parent).download()
    assert fetched == [file_id, file_id], "what is there is not downloaded again"


def test_without_gdown_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(InputError, match=r"'gdown' is required\. .*; put img_align_celeba\.zip"):
        CelebA(tmp_path).download()
