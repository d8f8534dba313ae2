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
ATTRIBUTE_LIST, PEOPLE = "list_attr_celeba.txt", "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"


def face(row):
    """218 high, 178 wide; white above and below the middle square, whose colour tells the row."""
    pixels = np.full((218, 178, 3), 255, np.uint8)
    pixels[20:198] = (40 + 10 * row, 100, 200 - 10 * row)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def rows(bank):
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
    people, split = np.hsplit(np.array(ROWS), 2)
    for name, values in ((ATTRIBUTE_LIST, ATTRIBUTES), (PEOPLE, people), (PARTITION, split)):
        lines = [" ".join([file, *map(str, row)]) for file, row in zip(FILES, values, strict=True)]
        header = [str(len(FILES)), " ".join(NAMES) + " "] if name == ATTRIBUTE_LIST else []
        (folder / name).write_text("\n".join([*header, *lines]) + "\n")
    return folder


def test_people_are_classes_in_their_split(folder):
    splits = CelebA(folder.parent, size=8).splits()
    # The most images first, then the lower number.
    assert splits.train.class_names == ("7", "3", "9")
    assert splits.validation.class_names == ("12", "11")
    assert splits.test.class_names == ("5", "4")
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 3 + [2]
    assert rows(splits.train) == [0, 2, 5, 14, 1, 4, 15, 8]
    assert rows(splits.validation) == [3, 7, 9, 12]
    assert rows(splits.test) == [6, 10, 13, 11]
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
        order = torch.tensor([theirs.filename.index(FILES[row]) for row in rows(bank)])
        people = [int(bank.class_names[label]) for label in bank.labels]
        assert people == theirs.identity[order, 0].tolist()
        assert list(bank.attributes) == NAMES
        assert torch.equal(torch.stack(list(bank.attributes.values()), 1), theirs.attr[order])
        assert torch.equal(bank.images, torch.stack([theirs[i][0] for i in order.tolist()]))


def test_an_archive_in_the_first_complete_folder(folder, same, refused, listed, tmp_path):
    listed(CelebA(folder.parent), folder, 7, 16)
    loose = CelebA(folder.parent, size=8).splits()
    (tmp_path / "incomplete" / "celeba").mkdir(parents=True)
    archive = shutil.make_archive(
        str(folder / "img_align_celeba"), "zip", folder, "img_align_celeba"
    )
    shutil.rmtree(folder / "img_align_celeba")
    assert same(CelebA([tmp_path / "incomplete", folder.parent], size=8).splits(), loose)
    Path(archive).write_bytes(Path(archive).read_bytes()[:-200])
    refused(CelebA(folder.parent), f"{archive}: not a complete zip archive")


def test_decoded_once_until_a_source_changes(folder, decoded_once):
    for path in (folder / PEOPLE, folder / "img_align_celeba" / FILES[3]):
        decoded_once(CelebA(folder.parent, size=8), path)


def test_people_of_few_images_are_left_out(folder, refused, monkeypatch):
    everyone = CelebA(folder.parent, size=8).splits().train
    monkeypatch.setattr("fewshot.data.celeba.decode", None)  # the cache is the same
    splits = CelebA(folder.parent, size=8, min_images=3).splits()
    assert [bank.class_names for bank in vars(splits).values()] == [("7", "3"), ("12",), ("5",)]
    assert splits.train.class_sizes.tolist() == [4, 3]
    assert torch.equal(splits.train.images, everyone.images[:7])
    sampler = EpisodeSampler(splits.train, Setting(n_way=2, n_shot=1, n_query=2), seed=0)
    assert sampler[0].query.shape[1:] == (2, 2)
    with pytest.raises(InputError, match="9"):
        EpisodeSampler(everyone, Setting(n_way=3, n_shot=1, n_query=2), seed=0)
    wanted = "CelebA.min_images: expected at most 3", "validation", "got 4"
    refused(CelebA(folder.parent, size=8, min_images=4), *wanted)


def test_missing_images_are_named(folder, refused):
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    (folder / "img_align_celeba" / "000016.jpg").unlink()
    refused(CelebA(folder.parent), "expected the 16 images", "2 are missing, such as 000003.jpg")
    shutil.rmtree(folder / "img_align_celeba")
    refused(CelebA(folder.parent), "celeba/img_align_celeba.zip not found in ")


LINE = "expected a line <image> <number> …"
PAGE = "<!DOCTYPE html>\n<html>quota exceeded</html>\n"
DAMAGED = [  # in which list, what (None: all) is replaced by what, what is said
    (ATTRIBUTE_LIST, "16\n", "17\n", "expected 17 lines of 3 numbers, found 16"),
    (ATTRIBUTE_LIST, "Eyeglasses", "Eye glasses", "expected 16 lines of 4 numbers, found 16 of 3"),
    (ATTRIBUTE_LIST, "16\n", "", LINE),
    (ATTRIBUTE_LIST, None, "", LINE),
    (PARTITION, None, PAGE, LINE),
    (PARTITION, "04.jpg 1", "04.jpg 1 1", LINE),
    (PARTITION, "04.jpg 1", "04.jpg", LINE),
    (PEOPLE, None, PAGE, LINE),
    (PEOPLE, None, "", LINE),
    (PEOPLE, "000007.jpg 5", "000007.jpg five", LINE),
    (PEOPLE, "000007.jpg", "000070.jpg", "in the same order"),
    (PARTITION, "000007.jpg 2", "000007.jpg 3", "000007.jpg: expected 0 (train), 1 (validation)"),
    (ATTRIBUTE_LIST, "03.jpg -1", "03.jpg 2", "000003.jpg: expected -1 or 1, got 2"),
    (PARTITION, ".jpg 2", ".jpg 1", "images in each split, found none in test"),
    (PARTITION, "000007.jpg 2", "000007.jpg 0", "found 1 in two, such as person 5"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), DAMAGED)
def test_damaged_lists(folder, name, old, new, message, refused):
    content = (folder / name).read_text()
    assert old is None or old in content
    (folder / name).write_text(content.replace(old or content, new))
    refused(CelebA(folder.parent), ".txt: ", message, listing=(name, message) == (PEOPLE, LINE))


def test_download_fetches_what_is_missing(folder, monkeypatch, refused):
    content = (folder / PEOPLE).read_bytes()
    fetched = []

    def download(id, output, **_):
        fetched.append(id)
        Path(output).write_bytes(content)

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
    (file_id,) = [id for id, _, name in datasets.CelebA.file_list if name == PEOPLE]
    (folder / PEOPLE).unlink()
    dataset = CelebA(folder.parent, size=8, download=True)
    refused(dataset, f"{len(content)} bytes that are not the file", f"; put {PEOPLE} of http")
    files = [(file_id, hashlib.md5(content).hexdigest(), PEOPLE)]
    monkeypatch.setattr(datasets.CelebA, "file_list", files)
    assert dataset.splits().train.n_classes == 3
    CelebA(folder.parent).download()
    assert fetched == [file_id, file_id], "what is there is not downloaded again"
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(InputError, match=r"'gdown' is required\. .*; put "):
        CelebA(folder / "nowhere").download()
