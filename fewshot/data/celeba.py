"""``CelebA``: faces of celebrities with 40 binary attributes."""

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
from fewshot.data.dataset import SPLITS, Dataset, Listing, Splits
from fewshot.data.io.cache import cached_bank, identity
from fewshot.data.io.download import GOOGLE_DRIVE, RemoteFile, download_files
from fewshot.data.io.images import decode, find_images, state
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Count

FOLDER = "celeba"
ARCHIVE, IMAGES = "img_align_celeba.zip", "img_align_celeba"
ATTRIBUTES, IDENTITIES, PARTITION = (
    "list_attr_celeba.txt",
    "identity_CelebA.txt",
    "list_eval_partition.txt",
)
URL = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class CelebA(Dataset):
    """Aligned and cropped faces in colour; a class is a person.

    Source: Liu, Luo, Wang & Tang (2015), arXiv:1411.7766: 202,599 images of 10,177 people. The
    images (178×218) are cut to the middle 178×178 as in StarGAN (Choi et al. 2018,
    arXiv:1711.09020, §5.2), then resized with a Lanczos filter. The splits are the authors', by
    person: about 8,000, 1,000 and 1,000 people. Read from ``root/celeba`` (torchvision's place):
    ``img_align_celeba.zip`` or the folder ``img_align_celeba`` that it holds,
    ``list_attr_celeba.txt``, ``identity_CelebA.txt`` and ``list_eval_partition.txt``.

    Attributes: ``Smiling``, ``Eyeglasses`` … as in the list, 0 or 1. The name of a class is the
    person's number in the list; people with more images come first.

    Args:
        root: the folder or folders that hold the datasets.
        size: height and width of the images in pixels.
        min_images: people with fewer images are left out; at least 1. Episodes need
            n_shot + n_query images of each person.
        download: download missing files.

    Raises:
        InputError: a value is out of range; on reading, the lists are incomplete or disagree, or
            a person is in two splits.
    """

    name: ClassVar[str] = "celeba"

    def __init__(
        self,
        root: Roots | None = None,
        *,
        size: Count = 64,
        min_images: Count = 1,
        download: bool = False,
    ) -> None:
        super().__init__(root)
        self.size = size
        self.min_images = min_images
        self.fetch_missing = download

    @property
    def folder(self) -> Path:
        """The first complete folder; else the first that exists; else the one to download into."""
        folders = [root / FOLDER for root in self.roots]
        complete = [folder for folder in folders if not _missing(folder)]
        existing = [folder for folder in folders if folder.is_dir()]
        return [*complete, *existing, *folders][0]

    def splits(self) -> Splits:
        if self.fetch_missing and _missing(self.folder):
            self.download()
        if missing := _missing(self.folder):
            raise self.not_found([f"{FOLDER}/{path.name}" for path in missing], "and")
        # The bank of all people is cached; `min_images` selects from it. The key holds the
        # archive's state, not the images', because listing the archive takes seconds.
        lists = [self.folder / name for name in (ATTRIBUTES, IDENTITIES, PARTITION)]
        source = self._source()
        images = identity([source]) if source.is_file() else state(find_images(source))
        settings = {"images": images, "lists": identity(lists), "size": self.size}
        bank = cached_bank(self.name, settings, lambda: self._build(source))
        # Each class is in one split, and classes are sorted by split.
        part = bank.attributes["split"][bank.class_sizes.cumsum(0) - 1]
        starts = torch.searchsorted(part, torch.arange(4)).tolist()
        return Splits(
            *(
                self._split(bank, name, *bounds)
                for name, bounds in zip(SPLITS, pairwise(starts), strict=True)
            )
        )

    def _split(self, bank: ImageBank, name: str, start: int, stop: int) -> ImageBank:
        # People with more images come first, so the selection is a view.
        enough = int((bank.class_sizes[start:stop] >= self.min_images).sum())
        if not enough:
            raise InputError(
                f"CelebA.min_images: expected at most {int(bank.class_sizes[start])}, the most "
                f"images of a person in the {name} split, got {self.min_images}"
            )
        view = bank.classes(range(start, start + enough))
        attributes = {k: column for k, column in view.attributes.items() if k != "split"}
        return ImageBank(view.images, view.labels, view.class_names, attributes)

    def listing(self) -> Listing:
        if _missing(self.folder):
            return self.absent(self.folder)
        try:
            people = _read_list(self.folder / IDENTITIES, self.how_to_get).values
        except InputError as error:
            return self.absent(error)
        return self.present(self.folder, len(np.unique(people)), len(people))

    def download(self) -> None:
        """Download what is missing of the archive (1.4 GB) and the lists into ``root/celeba``.

        The files are on Google Drive, which needs the package gdown and often refuses.

        Raises:
            InputError: the download failed; says which files to get by hand.
        """
        from torchvision.datasets import CelebA as Source

        missing = {path.name for path in _missing(self.folder)}
        files = [
            RemoteFile(name, (f"{GOOGLE_DRIVE}{file_id}",), md5)
            for file_id, md5, name in Source.file_list
            if name in missing
        ]
        download_files(self.name, files, self.folder, URL)

    def _source(self) -> Path:
        archive = self.folder / ARCHIVE
        return archive if archive.exists() else self.folder / IMAGES

    def _build(self, source: Path) -> ImageBank:
        people, splits, attributes = self._lists()
        files = find_images(source, f"delete it, then run: {self.how_to_get}")
        by_name = {file.parts[-1]: file for file in files}
        lost = [name for name in people.images if name not in by_name]
        if lost:
            raise InputError(
                f"{source}: expected the {len(people.images)} images of {IDENTITIES}; {len(lost)} "
                f"are missing, such as {lost[0]}; replace it with: {self.how_to_get}"
            )
        # Sorted by split, by number of the person's images (descending), then as in the list.
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
        """The lists of people, splits and attributes, after checking that they agree."""
        how = self.how_to_get
        people, splits, attributes = (
            _read_list(self.folder / name, how) for name in (IDENTITIES, PARTITION, ATTRIBUTES)
        )
        for other in (splits, attributes):
            if other.images != people.images:
                raise InputError(
                    f"{other.path}: expected the {len(people.images)} images of {IDENTITIES} in "
                    f"the same order, found {len(other.images)}, or others; get it with: {how}"
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
                raise InputError(
                    f"{splits.path}: expected images in each split, found none in {name}"
                )
        homes = np.unique(np.stack([numbers, split], 1), axis=0)
        twice = homes[1:, 0][np.diff(homes[:, 0]) == 0]
        if len(twice):
            raise InputError(
                f"{splits.path}: expected each person in one split, found "
                f"{len(np.unique(twice))} in two, such as person {twice[0]}"
            )
        return people, splits, attributes


def _missing(folder: Path) -> list[Path]:
    names = [ATTRIBUTES, IDENTITIES, PARTITION]
    if not (folder / IMAGES).is_dir():
        names.insert(0, ARCHIVE)
    return [path for path in (folder / name for name in names) if not path.exists()]


class _List(NamedTuple):
    """A list with a line for each of n images: its name, then a number for each column.

    Attributes:
        path: the file.
        images: names of the images.
        values: int64 ``[n, len(columns)]``.
        columns: names of the columns.
    """

    path: Path
    images: list[str]
    values: NDArray[np.int64]
    columns: list[str]


def _read_list(path: Path, how_to_get: str) -> _List:
    """Read a list. The list of attributes begins with its length and the names of its columns.

    Raises:
        InputError: the file is incomplete or not such a list.
    """
    try:
        with open(path, encoding="utf-8") as file:
            header = [file.readline() for _ in range(2)] if path.name == ATTRIBUTES else []
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of an empty file
            read: Callable[..., NDArray[Any]] = partial(
                np.loadtxt, path, comments=None, skiprows=len(header)
            )
            images = read(dtype=str, usecols=0, ndmin=1)
            # With usecols, a line with too many numbers would pass.
            values = read(dtype=np.int64, converters={0: lambda image: 0}, ndmin=2)[:, 1:]
        length = int(header[0]) if header else len(images)
    except (OSError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a line <image> <number> … for each image ({reason}); "
            f"delete it, then run: {how_to_get}"
        ) from error
    columns = header[1].split() if header else [path.stem]
    if values.shape != (length, len(columns)):
        raise InputError(
            f"{path}: expected {length} lines of {len(columns)} numbers, found {len(values)} of "
            f"{values.shape[1]}; delete it, then run: {how_to_get}"
        )
    return _List(path, images.tolist(), values, columns)
