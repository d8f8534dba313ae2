"""CelebA: faces of celebrities, with 40 binary attributes and the names' numbers."""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, Splits
from fewshot.data.io.cache import cached_bank, identity
from fewshot.data.io.download import fetching
from fewshot.data.io.images import decode, find_images, state
from guided.errors import InputError

FOLDER = "celeba"
ARCHIVE, IMAGES = "img_align_celeba.zip", "img_align_celeba"
ATTRIBUTES, IDENTITIES, PARTITION = (
    "list_attr_celeba.txt",
    "identity_CelebA.txt",
    "list_eval_partition.txt",
)
SPLITS = ("train", "validation", "test")  # 0, 1 and 2 in the list
COMMAND = "fewshot data --download celeba"
URL = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class CelebA(Dataset):
    """Faces, aligned and cropped, in colour; a class is a person.

    Source: Liu, Luo, Wang & Tang (2015), arXiv:1411.7766: 202,599 images of 10,177 people. The
    images (178×218) are cut to the middle 178×178 as in StarGAN (Choi et al. 2018,
    arXiv:1711.09020, §5.2), then resized with Lanczos's filter. Splits are the authors', by
    person: some 8,000, 1,000 and 1,000. Read from ``root/celeba`` (torchvision's place):
    ``img_align_celeba.zip``, else the folder ``img_align_celeba`` that it holds; and
    ``list_attr_celeba.txt``, ``identity_CelebA.txt`` and ``list_eval_partition.txt``.

    Attributes: ``Smiling``, ``Eyeglasses`` … as in the list, 0 or 1. A class is named by the
    person's number in the list; the people with most images come first.

    Args:
        root: the folder that holds the datasets.
        size: images' height and width in pixels.
        min_images: people of fewer images are left out of their split; at least 1. Episodes need
            n_shot + n_query of each.
        download: fetch what is missing.

    Raises:
        InputError: a value out of range; on reading, lists that are incomplete or disagree, or a
            person in two splits.
    """

    name: ClassVar[str] = "celeba"

    def __init__(
        self, root: Path, *, size: int = 64, min_images: int = 1, download: bool = False
    ) -> None:
        super().__init__(root)
        for key, value in (("size", size), ("min_images", min_images)):
            if value < 1:
                raise InputError(f"CelebA.{key}: expected at least 1, got {value}")
        self.size = size
        self.min_images = min_images
        self.fetch_missing = download

    @property
    def folder(self) -> Path:
        """Where the files are, or should be."""
        return self.root / FOLDER

    def splits(self) -> Splits:
        if self.fetch_missing and self._missing():
            self.download()
        if missing := self._missing():
            raise InputError(f"{missing[0]}: not found; {self._how_to_get()}, or set FEWSHOT_DATA")
        # Everything is cached once, whoever is left out. Listing an archive takes seconds.
        lists = [self.folder / name for name in (ATTRIBUTES, IDENTITIES, PARTITION)]
        source = self._source()
        images = identity([source]) if source.is_file() else state(find_images(source))
        settings = {"images": images, "lists": identity(lists), "size": self.size}
        bank = cached_bank(self.name, settings, lambda: self._build(source))
        # A class is in one split, and classes are in the splits' order.
        part = bank.attributes["split"][bank.class_sizes.cumsum(0) - 1]
        starts = torch.searchsorted(part, torch.arange(4)).tolist()
        return Splits(
            *(
                self._split(bank, name, *bounds)
                for name, bounds in zip(SPLITS, pairwise(starts), strict=True)
            )
        )

    def _split(self, bank: ImageBank, name: str, start: int, stop: int) -> ImageBank:
        # A person with fewer images comes after those with more, so that this is a view.
        enough = int((bank.class_sizes[start:stop] >= self.min_images).sum())
        if not enough:
            raise InputError(
                f"CelebA.min_images: nobody of the {name} split has {self.min_images} images, "
                f"at most {int(bank.class_sizes[start])}"
            )
        view = bank.classes(range(start, start + enough))
        attributes = {k: column for k, column in view.attributes.items() if k != "split"}
        return ImageBank(view.images, view.labels, view.class_names, attributes)

    def listing(self) -> Listing:
        if self._missing():
            return Listing(self.name, False, str(self.folder), None, None, COMMAND)
        try:
            people = _read_list(self.folder / IDENTITIES, COMMAND).values
        except InputError as error:
            return Listing(self.name, False, str(error), None, None, COMMAND)
        where = str(self.folder)
        return Listing(self.name, True, where, len(np.unique(people)), len(people), COMMAND)

    def download(self) -> None:
        """Fetch what is missing of the archive (1.4 GB) and the lists into ``root/celeba``.

        They lie on Google Drive, which needs the package gdown, and often refuses.

        Raises:
            InputError: they cannot be fetched; says what to do by hand.
        """
        from torchvision.datasets import CelebA as Source
        from torchvision.datasets.utils import download_file_from_google_drive

        missing = {path.name for path in self._missing()}
        with fetching(self.name, self._by_hand()):
            for file_id, md5, name in Source.file_list:
                if name in missing:
                    download_file_from_google_drive(file_id, str(self.folder), name, md5)

    def _by_hand(self) -> str:
        names = f"{ARCHIVE}, {ATTRIBUTES}, {IDENTITIES} and {PARTITION}"
        return f"put {names} of {URL} into {self.folder}"

    def _how_to_get(self) -> str:
        return f"get it with: {COMMAND}, or {self._by_hand()}"

    def _missing(self) -> list[Path]:
        names = [ATTRIBUTES, IDENTITIES, PARTITION]
        if not (self.folder / IMAGES).is_dir():
            names.insert(0, ARCHIVE)
        return [path for path in (self.folder / name for name in names) if not path.exists()]

    def _source(self) -> Path:
        archive = self.folder / ARCHIVE
        return archive if archive.exists() else self.folder / IMAGES

    def _build(self, source: Path) -> ImageBank:
        people, splits, attributes = self._lists()
        files = find_images(source, f"delete it; {self._how_to_get()}")
        by_name = {file.parts[-1]: file for file in files}
        lost = [name for name in people.images if name not in by_name]
        if lost:
            raise InputError(
                f"{source}: has {len(files)} images, not {lost[0]} nor {len(lost) - 1} others "
                f"of the {len(people.images)} in {IDENTITIES}; {self._how_to_get()}"
            )
        # By split; there, people with more images first; a person's images in the list's order.
        numbers, split = people.values[:, 0], splits.values[:, 0]
        _, person, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        order = np.lexsort((person, -sizes[person], split))
        begins = np.diff(person[order], prepend=-1) != 0
        images, _ = decode(
            [by_name[people.images[row]] for row in order],
            size=(self.size, self.size),
            channels=3,
            invert=False,
            title=self.name,
        )
        columns = zip(attributes.columns, attributes.values[order].T, strict=True)
        return ImageBank(
            images,
            torch.from_numpy(begins.cumsum() - 1),
            tuple(str(number) for number in numbers[order][begins]),
            {
                **{name: torch.from_numpy((column + 1) // 2) for name, column in columns},
                "split": torch.from_numpy(split[order]),
            },
        )

    def _lists(self) -> "tuple[_List, _List, _List]":
        """People, splits and attributes of the same images, checked."""
        how = self._how_to_get()
        people, splits, attributes = (
            _read_list(self.folder / name, how) for name in (IDENTITIES, PARTITION, ATTRIBUTES)
        )
        for other in (splits, attributes):
            if other.images != people.images:
                raise InputError(
                    f"{other.path}: expected the {len(people.images)} images of {IDENTITIES} in "
                    f"the same order, has {len(other.images)} or others; {how}"
                )
        for listed, allowed, wanted in (
            (splits, (0, 1, 2), "0 (train), 1 (validation) or 2 (test)"),
            (attributes, (-1, 1), "-1 or 1"),
        ):
            wrong = np.argwhere(~np.isin(listed.values, allowed))
            if len(wrong):
                row, column = wrong[0]
                raise InputError(
                    f"{listed.path}: {listed.images[row]}: expected {wanted}, "
                    f"got {listed.values[row, column]}"
                )
        numbers, split = people.values[:, 0], splits.values[:, 0]
        for code, name in enumerate(SPLITS):
            if code not in split:
                raise InputError(f"{splits.path}: expected images of each split, has no {name}")
        homes = np.unique(np.stack([numbers, split], 1), axis=0)
        twice = homes[1:, 0][np.diff(homes[:, 0]) == 0]
        if len(twice):
            raise InputError(
                f"{splits.path}: expected each person in one split; images of person {twice[0]} "
                f"and of {len(np.unique(twice)) - 1} others are in two"
            )
        return people, splits, attributes


class _List(NamedTuple):
    """A list of one line an image: its name, then numbers ``[n, columns]``."""

    path: Path
    images: list[str]
    values: NDArray[np.int64]
    columns: list[str]


def _read_list(path: Path, how_to_get: str) -> _List:
    """Read a list; that of the attributes begins with its length and its columns' names.

    Raises:
        InputError: it is something else, or incomplete.
    """
    try:
        with open(path) as file:
            header = [file.readline() for _ in range(2)] if path.name == ATTRIBUTES else []
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an empty file is worth no more than that to numpy
            read: Callable[..., NDArray[Any]] = partial(
                np.loadtxt, path, comments=None, skiprows=len(header)
            )
            images = read(dtype=str, usecols=0, ndmin=1)
            # Not usecols, with which a line of too many numbers would pass.
            values = read(dtype=np.int64, converters={0: lambda image: 0}, ndmin=2)[:, 1:]
        length = int(header[0]) if header else len(images)
    except (OSError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a line <image> <number> … for each image, cannot be read "
            f"({reason}); delete it; {how_to_get}"
        ) from error
    columns = header[1].split() if header else [path.stem]
    if values.shape != (length, len(columns)):
        raise InputError(
            f"{path}: expected {length} lines of {len(columns)} numbers, has {len(values)} of "
            f"{values.shape[1]}; delete it; {how_to_get}"
        )
    return _List(path, images.tolist(), values, columns)
