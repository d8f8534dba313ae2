"""A small miniImageNet, three images a class, in each of its forms."""

import csv
import io
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewshot.data.mini_imagenet.splits import SPLIT_OF, TEST, TRAIN, VALIDATION

Images = Mapping[str, "list[np.ndarray[Any, Any]]"]
Files = Mapping[str, list[bytes]]

SPLIT_NAMES = ("train", "validation", "test")
FOLDERS = {"train": "train", "validation": "val", "test": "test"}
SYNSETS = dict(zip(SPLIT_NAMES, (TRAIN, VALIDATION, TEST), strict=True))
N_IMAGES = 3


@pytest.fixture(scope="session")
def images():
    """Three smooth pictures, 84×84×3, for each of the hundred synsets."""
    rng = np.random.default_rng(0)

    def picture():
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        return np.asarray(coarse.resize((84, 84), Image.Resampling.BICUBIC))

    return {name: [picture() for _ in range(N_IMAGES)] for name in SPLIT_OF}


@pytest.fixture(scope="session")
def pngs(images):
    """The same, in a format that loses nothing."""

    def png(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    return {name: [png(pixels) for pixels in pictures] for name, pictures in images.items()}


def file_name(synset, i):
    """As in the published lists."""
    return f"{synset}{i:08}.png"


def write_folders(root, pngs):
    folder = root / "mini-imagenet"
    for name, split in SPLIT_OF.items():
        (folder / FOLDERS[split] / name).mkdir(parents=True)
        for i, content in enumerate(pngs[name]):
            (folder / FOLDERS[split] / name / file_name(name, i)).write_bytes(content)
    return folder


def write_archives(root, pngs):
    folder = root / "mini-imagenet"
    folder.mkdir(parents=True)
    for i in range(N_IMAGES):
        with zipfile.ZipFile(folder / f"part-{i}.zip", "w") as archive:
            for name, split in SPLIT_OF.items():
                path = f"{FOLDERS[split]}/{name}/{file_name(name, i)}"
                archive.writestr(path, pngs[name][i])
    return folder


def write_csv(folder):
    for split, names in SYNSETS.items():
        with open(folder / f"{FOLDERS[split]}.csv", "w", newline="") as file:
            rows = [(file_name(name, i), name) for name in names for i in range(N_IMAGES)]
            csv.writer(file).writerows([("filename", "label"), *rows[::-1]])


def write_lists(root, pngs, *, archive=False):
    folder = root / "mini-imagenet"
    (folder / "images").mkdir(parents=True)
    for name, contents in pngs.items():
        for i, content in enumerate(contents):
            (folder / "images" / file_name(name, i)).write_bytes(content)
    (folder / "images" / "not_listed.png").write_bytes(b"not looked at")
    write_csv(folder)
    if archive:
        shutil.make_archive(str(folder / "images"), "zip", folder, "images")
        shutil.rmtree(folder / "images")
    return folder


def pickled(images, split):
    """As in learn2learn's files, but with rows and classes in no order."""
    names = SYNSETS[split]
    rows = np.random.default_rng(1).permutation(N_IMAGES * len(names)).reshape(-1, N_IMAGES)
    pixels = np.empty((rows.size, 84, 84, 3), np.uint8)
    for name, listed in zip(names, rows, strict=True):
        pixels[listed] = images[name]
    classes = {name: rows[i].tolist() for i, name in enumerate(names)}
    return {"image_data": pixels, "class_dict": dict(reversed(classes.items()))}


def write_pickles(root, images, protocol=2):
    root.mkdir(parents=True, exist_ok=True)
    for split in SPLIT_NAMES:
        with open(root / f"mini-imagenet-cache-{split}.pkl", "wb") as file:
            pickle.dump(pickled(images, split), file, protocol=protocol)
    return root


@pytest.fixture
def write(images, pngs):
    """``write(root, form)``: the folder in ``root`` that has miniImageNet in this form.

    Images other than the usual ones are given as arrays, for pickles, or else as files.
    """
    usual = images, pngs

    def write(root, form, *, images=usual[0], pngs=usual[1], protocol=2):
        writers: dict[str, Callable[[], Path]] = {
            "folders": lambda: write_folders(root, pngs),
            "archives": lambda: write_archives(root, pngs),
            "lists": lambda: write_lists(root, pngs),
            "lists, archive": lambda: write_lists(root, pngs, archive=True),
            "pickles": lambda: write_pickles(root / "mini-imagenet", images, protocol),
        }
        return writers[form]()

    return write


@pytest.fixture
def make(tmp_path, write):
    """``make(form)``: a data root, and the folder in it that has miniImageNet in this form."""
    return lambda form: (tmp_path / form, write(tmp_path / form, form))


@pytest.fixture
def edit():
    """``edit(folder, split, change)``: change what one of the pickles holds; its path."""

    def edit(folder, split, change):
        path = folder / f"mini-imagenet-cache-{split}.pkl"
        content = pickle.loads(path.read_bytes())
        change(content)
        path.write_bytes(pickle.dumps(content, protocol=2))
        return path

    return edit
