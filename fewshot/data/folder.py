"""Images of one's own: a folder for each class."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, SplitName, Splits
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.images import ImageFile, decode, find_images, state
from guided.errors import InputError
from guided.seeds import generator

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
DEFAULTS = (0.15, 0.25, 0)  # validation, test, split_seed
LAYOUT = "<class>/<image>, or <class>/<image> in each of train/, val/ and test/"


class SharedImagesWarning(UserWarning):
    """The same image is in two splits: an error measured on one may flatter."""


class Found(NamedTuple):
    """The images of a folder, class by class, ordered by split (if it has splits), then name."""

    files: list[ImageFile]
    labels: list[int]
    class_names: list[str]
    class_splits: list[SplitName] | None


class ImageFolder(Dataset):
    """Images in class folders, ``path/<class>/*.png`` (or .jpg, .webp, .tiff …).

    With ``path/train/<class>``, ``path/val/<class>`` (or ``validation``, ``valid``) and
    ``path/test/<class>``, those are the splits; otherwise classes are divided by ``split_seed``.
    ``path`` may also be a zip archive of this layout, or a folder of such archives, which are
    read as one. A class has the same name in all archives and is in one split only. Datasets that
    are passed on in such folders, as tieredImageNet is, are read so, too.

    The largest centred part with the target's aspect ratio is resized with Lanczos's filter: the
    shorter side is resized and the longer one cut. See :func:`fewshot.data.io.images.decode`.

    Args:
        root: the folder that holds the datasets.
        path: the folder or archive; a relative path starts at the working directory or, if
            nothing is there, at ``root``.
        size: height and width in pixels, or ``[height, width]``.
        channels: 1: images must be grey (three equal channels are); 3: grey images are repeated.
        invert: 255 minus each value: set it for dark ink on white paper.
        validation: fraction of the classes, in (0, 1); without split folders only.
        test: the same for the test split; validation + test < 1. At least one class each.
        split_seed: draws the classes of each split, >= 0; without split folders only.

    Warns:
        SharedImagesWarning: byte-identical images are in two splits; counts them, names a pair.
    """

    name: ClassVar[str] = "folder"
    listed: ClassVar[bool] = False

    def __init__(
        self,
        root: Path,
        *,
        path: Path,
        size: int | tuple[int, int] = 28,
        channels: Literal[1, 3] = 1,
        invert: bool = False,
        validation: float = DEFAULTS[0],
        test: float = DEFAULTS[1],
        split_seed: int = DEFAULTS[2],
    ) -> None:
        super().__init__(root)
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if min(self.size) < 1:
            raise InputError(f"ImageFolder.size: expected at least 1 pixel, got {size}")
        if channels not in (1, 3):
            raise InputError(f"ImageFolder.channels: expected 1 or 3, got {channels}")
        for key, fraction in (("validation", validation), ("test", test)):
            if not 0 < fraction < 1:
                raise InputError(f"ImageFolder.{key}: expected a fraction in (0, 1): {fraction}")
        if validation + test >= 1:
            raise InputError(
                f"ImageFolder.validation + test: expected less than 1, got {validation + test:g}"
            )
        if split_seed < 0:
            raise InputError(f"ImageFolder.split_seed: expected >= 0, got {split_seed}")
        self.path = Path(path)
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
                f"ImageFolder.validation, test, split_seed: {path} has split folders, "
                "which leave nothing to draw"
            )
        settings = {
            "files": state(found.files),
            "size": self.size,
            "channels": self.channels,
            "invert": self.invert,
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
        how = f"put a folder of images for each class into {self.root / self.path}"
        try:
            path = self._located()
            found = find_classes(path)
        except InputError as error:
            return Listing(self.name, False, str(error), None, None, how)
        n_classes, n_images = len(found.class_names), len(found.files)
        return Listing(self.name, True, str(path), n_classes, n_images, how)

    def _located(self) -> Path:
        for path in (self.path, self.root / self.path):
            if path.exists():
                return path
        raise InputError(
            f"ImageFolder.path: expected a folder or zip archive of {LAYOUT}: neither "
            f"{self.path.absolute()} nor {(self.root / self.path).absolute()} exists"
        )

    def _drawn(self, path: Path, n_classes: int) -> list[SplitName]:
        """A split for each class, by chance."""
        n_validation = max(1, round(self.validation * n_classes))
        n_test = max(1, round(self.test * n_classes))
        n_train = n_classes - n_validation - n_test
        if n_train < 1:
            raise InputError(
                f"{path}: has {n_classes} classes, expected at least "
                f"{n_validation + n_test + 1} to draw three splits from"
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
    """The images of a folder, of an archive or of a folder of archives.

    Raises:
        InputError: the layout is another, or a class is empty or in two splits.
    """
    containers = _containers(path)
    files = [file for container in containers for file in find_images(container)]
    if not files:
        raise InputError(f"{path}: expected images, {LAYOUT}; found none")
    in_splits = any(_is_in_split(file) for file in files)
    homes = _homes(path, files, in_splits)
    for folder in _class_folders(containers, in_splits):
        if folder.name not in homes:
            raise InputError(f"{folder}: expected a class's images, found none")
    names = sorted(homes)
    class_splits = None
    if in_splits:
        names.sort(key=lambda name: SPLITS.index(SPLIT_FOLDERS[homes[name]]))
        class_splits = [SPLIT_FOLDERS[homes[name]] for name in names]
        for split in SPLITS:
            if split not in class_splits:
                raise InputError(f"{path}: expected train/, val/ and test/, has no {split} images")
    position = {name: i for i, name in enumerate(names)}
    files.sort(key=lambda file: (position[file.parts[-2]], file.parts[-1]))
    return Found(files, [position[file.parts[-2]] for file in files], names, class_splits)


def _is_in_split(file: ImageFile) -> bool:
    return len(file.parts) == 3 and file.parts[0] in SPLIT_FOLDERS


def _homes(path: Path, files: Sequence[ImageFile], in_splits: bool) -> dict[str, str]:
    """Class -> the folder of its split, or ``""``."""
    homes: dict[str, str] = {}
    for file in files:
        if not (_is_in_split(file) if in_splits else len(file.parts) == 2):
            raise InputError(f"{file}: expected {LAYOUT} in {path}")
        split, name = file.parts[0] if in_splits else "", file.parts[-2]
        if homes.setdefault(name, split) != split:
            raise InputError(
                f"{path}: the class {name} is in {homes[name]}/ and in {split}/, "
                "expected it in one split"
            )
    return homes


def _containers(path: Path) -> list[Path]:
    """The folder itself, or the archives in it if it has nothing else."""
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
        path: of the dataset, for the message.
        digests: int64 ``[N]``, equal for equal images.
        splits: of each image, N.
        name_of: the name of an image, given its row.

    Warns:
        SharedImagesWarning: counts the images that are in another split, too; names a pair.
    """
    first: dict[int, int] = {}
    pairs = []
    for row, digest in enumerate(digests.tolist()):
        other = first.setdefault(digest, row)
        if splits[row] != splits[other]:
            pairs.append((other, row))
    if pairs:
        one, two = (f"{name_of(row)} ({splits[row]})" for row in pairs[0])
        warnings.warn(
            f"{path}: {len(pairs)} byte-identical images in two splits, such as {one} and {two}",
            SharedImagesWarning,
            stacklevel=3,
        )
