"""The forms in which miniImageNet is distributed: class folders, lists with images, pickles."""

import csv
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, SplitName
from fewshot.data.io.cache import identity, pixel_array
from fewshot.data.io.containers import is_archive
from fewshot.data.io.images import ImageFile, decode, digest, find_images, state
from fewshot.data.io.pickles import load_pickle
from fewshot.data.io.pixels import fit
from fewshot.data.layouts import SPLIT_FOLDERS, Found, find_classes
from fewshot.data.mini_imagenet.splits import SPLIT_OF
from fewshot.data.roots import first_existing
from guided.errors import InputError, reason_of
from guided.ranges import shown

FOLDERS = ("mini-imagenet", "mini_imagenet", "miniImagenet", "miniimagenet")
LISTS = ("train.csv", "val.csv", "test.csv")
HEADER = ["filename", "label"]
IMAGES = ("images", "images.zip")
PICKLES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLITS)
SIDE = 84


class Source(ABC):
    """miniImageNet in one of its forms, with all its classes."""

    where: Path

    @abstractmethod
    def state(self) -> Any:
        """A JSON-able value that changes when the files do, for the cache's key."""

    @abstractmethod
    def class_sizes(self) -> Mapping[str, int]:
        """Synset -> number of images.

        Raises:
            InputError: the files are unusable or hold other classes.
        """

    @abstractmethod
    def build(self, size: int) -> ImageBank:
        """Decode the bank, sorted by split and class name.

        Its attribute ``digest`` is equal for identical images.
        """

    @abstractmethod
    def name_of(self, bank: ImageBank, row: int) -> str:
        """The name of an image of the bank."""


def find_source(root: Path) -> Source | None:
    """The first form of miniImageNet in the first folder that has one, or ``None``.

    Raises:
        InputError: it is incomplete or unusable.
    """
    for folder in (root / name for name in FOLDERS):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if any(
            name.lower() in SPLIT_FOLDERS or (is_archive(Path(name)) and name not in IMAGES)
            for name in names
        ):
            return _from_folders(folder)
        if names & set(LISTS):
            return _from_lists(folder)
        if names & set(PICKLES):
            return Pickles(folder)
    return Pickles(root) if any((root / name).exists() for name in PICKLES) else None


@dataclass(frozen=True)
class ImageFiles(Source):
    """Images in folders or archives.

    Attributes:
        where: the folder.
        found: the images and their classes.
        lists: the files that tell the classes, if folders do not.
    """

    where: Path
    found: Found
    lists: tuple[Path, ...] = ()

    def state(self) -> Any:
        return [state(self.found.files), identity(self.lists)]

    def class_sizes(self) -> Mapping[str, int]:
        names = self.found.class_names
        return {names[label]: n for label, n in Counter(self.found.labels).items()}

    def build(self, size: int) -> ImageBank:
        images, digests = decode(
            self.found.files, size=(size, size), channels=3, invert=False, title=self.where.name
        )
        labels = torch.tensor(self.found.labels)
        return ImageBank(images, labels, tuple(self.found.class_names), {"digest": digests})

    def name_of(self, bank: ImageBank, row: int) -> str:
        return self.found.files[row].name


def _from_folders(folder: Path) -> ImageFiles:
    found = find_classes(folder)
    if found.class_splits is None:
        raise InputError(f"{folder}: expected the class folders in train/, val/ and test/")
    _check_classes(folder, dict(zip(found.class_names, found.class_splits, strict=True)))
    return ImageFiles(folder, found)


def _from_lists(folder: Path) -> ImageFiles:
    """Read Ravi and Larochelle's three lists and find the images that they name."""
    lists = tuple(folder / name for name in LISTS)
    images = first_existing(folder / name for name in IMAGES)
    if images is None:
        raise InputError(
            f"{folder}: expected {IMAGES[0]}/ or {IMAGES[1]} beside {LISTS[0]}, found neither"
        )
    files: dict[str, ImageFile] = {}
    ambiguous = set()
    for file in find_images(images):
        name = file.parts[-1]
        if files.setdefault(name, file) is not file:
            ambiguous.add(name)
    splits: dict[str, SplitName] = {}
    labels: dict[str, str] = {}
    for path, split in zip(lists, SPLITS, strict=True):
        for name, label in _read_list(path):
            if splits.setdefault(label, split) != split:
                raise InputError(f"{path}: {name}: the class {label} is also in another list")
            if name in labels:
                raise InputError(f"{path}: {name}: listed before, as {labels[name]}")
            if name not in files or name in ambiguous:
                number = "several" if name in ambiguous else "none"
                raise InputError(
                    f"{path}: {name}: expected one image of this name in {images}, found {number}"
                )
            labels[name] = label
    _check_classes(folder, splits)
    class_names = sorted(splits, key=lambda label: (SPLITS.index(splits[label]), label))
    members: dict[str, list[str]] = {label: [] for label in class_names}
    for name in sorted(labels):
        members[labels[name]].append(name)
    found = Found(
        [files[name] for names in members.values() for name in names],
        [i for i, names in enumerate(members.values()) for _ in names],
        class_names,
        [splits[label] for label in class_names],
    )
    return ImageFiles(folder, found, lists)


def _read_list(path: Path) -> Iterator[tuple[str, str]]:
    """The name and class of each image in a list."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != HEADER:
                raise InputError(f"{path}: expected the first line {','.join(HEADER)}")
            for row in rows:
                if len(row) != len(HEADER):
                    raise InputError(
                        f"{path}: line {rows.line_num}: expected an image and its class, "
                        f"got {shown(row)}"
                    )
                yield row[0], row[1]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable list of images ({reason_of(error)})") from error


@dataclass(frozen=True)
class Pickles(Source):
    """learn2learn's pickles, one for each split.

    Each holds a dict of ``image_data``, uint8 ``[N, 84, 84, 3]``, and ``class_dict``,
    synset -> rows.
    """

    where: Path

    def missing(self) -> list[Path]:
        """Those of the three files that are not there."""
        return [path for name in PICKLES if not (path := self.where / name).exists()]

    def _paths(self) -> list[Path]:
        if missing := self.missing():
            raise InputError(f"{missing[0]}: not found; expected all of {', '.join(PICKLES)}")
        return [self.where / name for name in PICKLES]

    def state(self) -> Any:
        return identity(self._paths())

    def class_sizes(self) -> Mapping[str, int]:
        sizes: dict[str, int] = {}
        splits: dict[str, SplitName] = {}
        for path, split in zip(self._paths(), SPLITS, strict=True):
            _, rows = _read_pickle(path, arrays=False)
            if twice := splits.keys() & rows.keys():
                raise InputError(f"{path}: the class {min(twice)} is also in another split")
            splits |= dict.fromkeys(rows, split)
            sizes |= {name: len(rows[name]) for name in sorted(rows)}
        _check_classes(self.where, splits)
        return sizes

    def build(self, size: int) -> ImageBank:
        from tqdm.auto import tqdm

        from guided.progress import hidden

        sizes = self.class_sizes()
        images = pixel_array((sum(sizes.values()), 3, size, size))
        digests = np.empty(len(images), np.int64)
        start = 0
        with tqdm(desc=self.where.name, total=len(images), disable=hidden(), leave=False) as bar:
            for path in self._paths():
                # One split is in memory at a time, and one class of it twice.
                for pixels in _by_class(path):
                    stop = start + len(pixels)
                    images[start:stop] = _resized(pixels, size)
                    digests[start:stop] = [digest(image.data) for image in pixels]
                    bar.update(len(pixels))
                    start = stop
        labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(list(sizes.values())))
        columns = {"digest": torch.from_numpy(digests)}
        return ImageBank(torch.from_numpy(images), labels, tuple(sizes), columns)

    def name_of(self, bank: ImageBank, row: int) -> str:
        label = int(bank.labels[row])
        first = int(torch.searchsorted(bank.labels, label))
        return f"image {row - first} of {bank.class_names[label]}"


def _by_class(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The images of each class, uint8 ``[n, 84, 84, 3]``, sorted by class name."""
    pixels, rows = _read_pickle(path)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE, 3):
        raise InputError(
            f"{path}: image_data: expected uint8 [N, {SIDE}, {SIDE}, 3], "
            f"got {pixels.dtype} {list(pixels.shape)}"
        )
    n = len(pixels)
    uses = Counter(row for listed in rows.values() for row in listed)
    wrong = [row for row in (*range(n), *uses) if uses[row] != (row < n)]
    if wrong:
        classes = ", ".join(name for name in rows if wrong[0] in rows[name]) or "none"
        raise InputError(
            f"{path}: class_dict: expected each of the {n} images in one class, found image "
            f"{wrong[0]} in {classes}"
        )
    for name in sorted(rows):
        yield pixels[rows[name]]


def _read_pickle(
    path: Path, *, arrays: bool = True
) -> tuple[NDArray[np.uint8], dict[str, list[int]]]:
    """The images (none without ``arrays``) and the rows of each class."""
    with open(path, "rb") as file:
        content = load_pickle(file, str(path), arrays=arrays)
    match content:
        case {"image_data": np.ndarray() as pixels, "class_dict": dict() as rows}:
            pass
        case _:
            raise InputError(
                f"{path}: expected a dict with image_data (an array) and class_dict (a dict)"
            )
    for name, listed in rows.items():
        if not isinstance(name, str):
            raise InputError(
                f"{path}: class_dict: expected names as keys, got {type(name).__name__}"
            )
        ok = isinstance(listed, list) and all(type(row) is int and row >= 0 for row in listed)
        if not ok or not listed:
            raise InputError(f"{path}: class_dict: {name}: expected a list of rows of image_data")
    return pixels, rows


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images ``[n, 84, 84, 3]`` as uint8 ``[n, 3, size, size]``."""
    from PIL import Image

    if size != SIDE:
        images = (fit(Image.fromarray(image), (size, size)) for image in pixels)
        pixels = np.stack([np.asarray(image) for image in images])
    return pixels.transpose(0, 3, 1, 2)


def _check_classes(where: Path, splits: Mapping[str, SplitName]) -> None:
    """Raise unless these are the hundred classes, each in Ravi and Larochelle's split."""
    for name, split in splits.items():
        if name not in SPLIT_OF:
            raise InputError(f"{where}: the class {name} is not one of miniImageNet's 100 synsets")
        if split != SPLIT_OF[name]:
            raise InputError(
                f"{where}: the class {name} is in {split}, expected it in {SPLIT_OF[name]} "
                "(Ravi and Larochelle's split)"
            )
    missing = [name for name in SPLIT_OF if name not in splits]
    if missing:
        raise InputError(
            f"{where}: expected miniImageNet's 100 classes, found {len(splits)}: "
            f"{missing[0]} ({SPLIT_OF[missing[0]]}) is missing"
        )
