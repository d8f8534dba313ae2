"""``ImageFolder``: your own images, in a folder for each class."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, Dataset, ImagesWarning, Listing, SplitName, Splits
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.images import ImageFile, decode, find_images, state
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Count, Range, Whole
from guided.seeds import generator

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
DEFAULTS = (0.15, 0.25, 0)  # validation, test, split_seed
LAYOUT = "<class>/<image>, or train/, val/ and test/ with <class>/<image> in each"


class SharedImagesWarning(ImagesWarning):
    """Two splits share an image, so that an error measured on one may be too low."""


class Found(NamedTuple):
    """The images of a folder, sorted by split (if it has splits), class and name.

    Attributes:
        files: N images.
        labels: N indices into ``class_names``.
        class_names: K names.
        class_splits: the split of each of the K classes; ``None`` without split folders.
    """

    files: list[ImageFile]
    labels: list[int]
    class_names: list[str]
    class_splits: list[SplitName] | None


class ImageFolder(Dataset):
    """Images in class folders, ``path/<class>/*.png`` (or .jpg, .webp, .tiff …).

    With ``path/train/<class>``, ``path/val/<class>`` (or ``validation``, ``valid``) and
    ``path/test/<class>``, those are the splits; otherwise the classes are divided at random.
    ``path`` may also be a zip archive of this layout, or a folder of such archives, which are
    read as one; a class then has the same name in all of them and belongs to one split only.
    Datasets that are distributed in such folders, like tieredImageNet, can be read this way.

    Images are cut to the largest centred part with the target's aspect ratio, then resized with
    a Lanczos filter; see :func:`fewshot.data.io.images.decode`.

    Args:
        root: the folder or folders that hold the datasets.
        path: the folder or archive, relative to the working directory or else to a root.
        size: height and width in pixels, or ``[height, width]``.
        channels: 1 for grey images (three equal channels count as grey), or 3; grey images are
            then repeated over the channels.
        invert: replace each value by 255 minus it, for dark ink on white paper.
        validation: fraction of the classes, in (0, 1); without split folders only.
        test: the same for the test split; validation + test < 1. Each gets at least one class.
        split_seed: seed of the division into splits, >= 0; without split folders only.

    Raises:
        InputError: a setting is out of range.

    Warns:
        SharedImagesWarning: images with the same pixels are in two splits; counts them, names a
            pair.
        SkippedImagesWarning: there are images in formats that are not read, such as HEIC.
    """

    name: ClassVar[str] = "folder"
    listed: ClassVar[bool] = False

    def __init__(
        self,
        root: Roots | None = None,
        *,
        path: Path | str,
        size: Count | tuple[Count, Count] = 28,
        channels: Literal[1, 3] = 1,
        invert: bool = False,
        validation: Annotated[float, Range(above=0, below=1)] = DEFAULTS[0],
        test: Annotated[float, Range(above=0, below=1)] = DEFAULTS[1],
        split_seed: Whole = DEFAULTS[2],
    ) -> None:
        super().__init__(root)
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if validation + test >= 1:
            raise InputError(
                f"ImageFolder.validation + ImageFolder.test: expected less than 1, "
                f"got {validation + test:g}"
            )
        self.path = Path(path).expanduser()
        self.channels = channels
        self.invert = invert
        self.validation = validation
        self.test = test
        self.split_seed = split_seed

    def splits(self) -> Splits:
        path = self._located()
        found = find_classes(path)
        class_splits = found.class_splits
        if class_splits is None:
            class_splits = self._drawn(path, len(found.class_names))
        elif (self.validation, self.test, self.split_seed) != DEFAULTS:
            raise InputError(
                f"ImageFolder: {path} has split folders, so validation, test and split_seed "
                "have no effect: remove them"
            )
        settings = {
            "files": state(found.files),
            "size": self.size,
            "channels": self.channels,
            "invert": self.invert,
            "digest": "pixels",  # up to version 0.1, of the files' bytes
        }
        bank = cached_bank(self.name, settings, lambda: self._build(found))
        warn_of_shared_images(
            path,
            bank.attributes["digest"],
            [class_splits[label] for label in found.labels],
            lambda row: found.files[row].name,
        )
        bank = ImageBank(bank.images, bank.labels, bank.class_names)
        train, validation, test = (
            bank.classes([i for i, other in enumerate(class_splits) if other == split])
            for split in SPLITS
        )
        return Splits(train, validation, test)

    def listing(self) -> Listing:
        try:
            path = self._located()
            found = find_classes(path)
        except InputError as error:
            return self.absent(error)
        return self.present(path, len(found.class_names), len(found.files))

    @property
    def how_to_get(self) -> str:
        return f"put a folder of images for each class into {self.root / self.path}"

    def _located(self) -> Path:
        paths = [self.path, *(root / self.path for root in self.roots)]
        for path in paths:
            if path.exists():
                return path
        tried = ", ".join(dict.fromkeys(str(path.absolute()) for path in paths))
        raise InputError(
            f"ImageFolder.path: expected a folder or zip archive of {LAYOUT}; "
            f"none of these exists: {tried}"
        )

    def _drawn(self, path: Path, n_classes: int) -> list[SplitName]:
        """A random split for each class."""
        n_validation = max(1, round(self.validation * n_classes))
        n_test = max(1, round(self.test * n_classes))
        n_train = n_classes - n_validation - n_test
        if n_train < 1:
            raise InputError(
                f"{path}: expected at least {n_validation + n_test + 1} classes to divide into "
                f"three splits, found {n_classes}"
            )
        order = torch.randperm(n_classes, generator=generator(self.split_seed, "folder", "split"))
        sizes = (n_train, n_validation, n_test)
        drawn = [split for split, n in zip(SPLITS, sizes, strict=True) for _ in range(n)]
        return [drawn[i] for i in order.argsort().tolist()]

    def _build(self, found: Found) -> ImageBank:
        images, digests = decode(
            found.files,
            size=self.size,
            channels=self.channels,
            invert=self.invert,
            title=self.path.name,
        )
        labels = torch.tensor(found.labels)
        return ImageBank(images, labels, tuple(found.class_names), {"digest": digests})


def find_classes(path: Path) -> Found:
    """Find the images of a folder, an archive or a folder of archives.

    Raises:
        InputError: the layout is a different one, or a class is empty or in two splits.
    """
    containers = _containers(path)
    files = [file for container in containers for file in find_images(container)]
    if not files:
        raise InputError(f"{path}: expected images in {LAYOUT}; found none")
    in_splits = any(_is_in_split(file) for file in files)
    homes = _homes(path, files, in_splits)
    for folder in _class_folders(containers, in_splits):
        if folder.name not in homes:
            raise InputError(
                f"{folder}: expected the images of a class, found none; remove the folder"
            )
    names = sorted(homes)
    class_splits = None
    if in_splits:
        names.sort(key=lambda name: SPLITS.index(SPLIT_FOLDERS[homes[name]]))
        class_splits = [SPLIT_FOLDERS[homes[name]] for name in names]
        for split in SPLITS:
            if split not in class_splits:
                raise InputError(
                    f"{path}: expected images in train/, val/ and test/, found no {split} images"
                )
    position = {name: i for i, name in enumerate(names)}
    files.sort(key=lambda file: (position[file.parts[-2]], file.parts[-1]))
    return Found(files, [position[file.parts[-2]] for file in files], names, class_splits)


def _is_in_split(file: ImageFile) -> bool:
    return len(file.parts) == 3 and file.parts[0] in SPLIT_FOLDERS


def _homes(path: Path, files: Sequence[ImageFile], in_splits: bool) -> dict[str, str]:
    """Class -> the folder of its split, or ``""`` without split folders."""
    homes: dict[str, str] = {}
    for file in files:
        if not (_is_in_split(file) if in_splits else len(file.parts) == 2):
            raise InputError(f"{file}: expected {LAYOUT} in {path}")
        split, name = file.parts[0] if in_splits else "", file.parts[-2]
        if homes.setdefault(name, split) != split:
            raise InputError(
                f"{path}: the class {name} is in {homes[name]}/ and in {split}/; "
                "expected each class in one split"
            )
    return homes


def _containers(path: Path) -> list[Path]:
    """The path itself, or the archives in a folder that has no folders."""
    if path.is_file():
        return [path]
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    archives = [entry for entry in visible if entry.suffix == ".zip"]
    folders = [entry for entry in visible if entry.is_dir()]
    return archives if archives and not folders else [path]


def _class_folders(containers: Sequence[Path], in_splits: bool) -> Iterator[Path]:
    folders = [path for path in containers if path.is_dir()]
    for _ in range(2 if in_splits else 1):
        below = [entry for path in folders for entry in sorted(path.iterdir())]
        folders = [path for path in below if path.is_dir() and not path.name.startswith(".")]
    yield from folders


def warn_of_shared_images(
    path: Path, digests: Tensor, splits: Sequence[SplitName], name_of: Callable[[int], str]
) -> None:
    """Warn if two splits share an image.

    Args:
        path: the dataset's, for the message.
        digests: int64 ``[N]``, equal for equal images.
        splits: the split of each of the N images.
        name_of: row -> the image's name.

    Warns:
        SharedImagesWarning: counts the images that are also in another split; names a pair.
    """
    first: dict[int, int] = {}
    pairs = []
    for row, digest in enumerate(digests.tolist()):
        other = first.setdefault(digest, row)
        if splits[row] != splits[other]:
            pairs.append((other, row))
    if pairs:
        one, two = (f"{name_of(row)} ({splits[row]})" for row in pairs[0])
        are = "image is" if len(pairs) == 1 else "images are"
        warnings.warn(
            f"{path}: {len(pairs)} {are} in two splits with the same pixels: {one} and {two}",
            SharedImagesWarning,
            stacklevel=3,
        )
