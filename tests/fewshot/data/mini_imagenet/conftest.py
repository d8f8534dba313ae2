"""A small miniImageNet, three images a class, in each of its forms."""

import csv
import io
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from fewshot.data.mini_imagenet.splits import SPLIT_OF, TEST, TRAIN, VALIDATION

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
SYNSETS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
N_IMAGES = 3


@pytest.fixture(scope="session")
def images():
    """Three smooth pictures, 84×84×3, for each of the hundred synsets."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(SPLIT_OF), N_IMAGES, 5, 5, 3), np.uint8)
    return {
        name: [np.asarray(Image.fromarray(one).resize((84, 84))) for one in few]
        for name, few in zip(SPLIT_OF, pixels, strict=True)
    }


@pytest.fixture(scope="session")
def pngs(images):
    """The same, in a format that loses nothing."""

    def png(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    return {name: [png(pixels) for pixels in pictures] for name, pictures in images.items()}


def write_files(folder, form, pngs):
    """Class folders or one folder of images, named as in the published lists, or archives."""
    for name, split in SPLIT_OF.items():
        place = "images" if form.startswith("lists") else f"{FOLDERS[split]}/{name}"
        (folder / place).mkdir(parents=True, exist_ok=True)
        for i, content in enumerate(pngs[name]):
            (folder / place / f"{name}{i:08}.png").write_bytes(content)
    if form == "archives":
        for i in range(N_IMAGES):
            with zipfile.ZipFile(folder / f"part-{i}.zip", "w") as archive:
                for path in folder.glob(f"*/*/*{i:08}.png"):
                    archive.write(path, path.relative_to(folder))
        for split in FOLDERS.values():
            shutil.rmtree(folder / split)


def write_lists(folder, archived):
    (folder / "images" / "not_listed.png").write_bytes(b"not looked at")
    for split, names in SYNSETS.items():
        with open(folder / f"{FOLDERS[split]}.csv", "w", newline="") as file:
            rows = [(f"{name}{i:08}.png", name) for name in names for i in range(N_IMAGES)]
            csv.writer(file).writerows([("filename", "label"), *rows[::-1]])
    if archived:
        shutil.make_archive(str(folder / "images"), "zip", folder, "images")
        shutil.rmtree(folder / "images")


def write_pickles(folder, images):
    """As in learn2learn's files, but with rows and classes in no order."""
    for split, names in SYNSETS.items():
        rows = np.random.default_rng(1).permutation(N_IMAGES * len(names)).reshape(-1, N_IMAGES)
        pixels = np.empty((rows.size, 84, 84, 3), np.uint8)
        for name, listed in zip(names, rows, strict=True):
            pixels[listed] = images[name]
        classes = {name: rows[i].tolist() for i, name in enumerate(names)}
        content = {"image_data": pixels, "class_dict": dict(reversed(classes.items()))}
        path = folder / f"mini-imagenet-cache-{split}.pkl"
        path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture
def make(tmp_path, images, pngs):
    """``make(form)``: a data root, and the folder in it that has miniImageNet in this form.

    ``replaced``: synset -> its images as arrays, for pickles, or else as files.
    """

    def write(form, replaced=None):
        root, folder = tmp_path / form, tmp_path / form / "mini-imagenet"
        folder.mkdir(parents=True)
        if form == "pickles":
            write_pickles(folder, images | (replaced or {}))
        else:
            write_files(folder, form, pngs | (replaced or {}))
            if form.startswith("lists"):
                write_lists(folder, form == "lists, archive")
        return root, folder

    return write


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
