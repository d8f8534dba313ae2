"""``ImageFolder``: your own images, in a folder for each class."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, Dataset, ImagesWarning, Listing, SplitName, Splits
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.images import decode, state
from fewshot.data.layouts import LAYOUT, Found, Source, find_classes, locate
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Count, Share, Whole
from guided.seeds import generator

FOLDERS: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
DEFAULTS = (0.15, 0.25, 0)  # validation, test, split_seed


class SharedImagesWarning(ImagesWarning):
    """Two splits share an image, so that an error measured on one may be too low."""


class ImageFolder(Dataset):
    """Images in class folders, ``path/<class>/*.png`` (or .jpg, .webp, .tiff …).

    With ``path/train/<class>``, ``path/val/<class>`` and ``path/test/<class>``, or some of these,
    those are the splits; otherwise the classes are divided at random. Usual variants of these
    names and layouts are read, too; :mod:`fewshot.data.layouts` has the list. ``path`` may also be
    a zip or tar archive, a folder in one, or a folder of archives, which are read as one; a class
    then has the same name in all of them and belongs to one split only. Datasets that are
    distributed in such folders, like tieredImageNet, can be read this way.

    Images are cut to the largest centred part with the target's aspect ratio, then resized with
    a Lanczos filter; see :func:`fewshot.data.io.images.decode`.

    Args:
        root: the folder or folders that hold the datasets.
        path: the folder or archive, relative to the working directory or else to a root.
        size: height and width in pixels, or ``[height, width]``.
        channels: 1 for grey images (three equal channels count as grey), or 3; grey images are
            then repeated over the channels.
        invert: replace each value by 255 minus it, for dark ink on white paper.
        validation: fraction of the classes, in [0, 1]; without split folders only. At least one
            class unless it is 0.
        test: the same for the test split; validation + test <= 1.
        split_seed: seed of the division into splits, >= 0; without split folders only.
        merge_splits: put the images of each class in ``train/``, ``val/`` and ``test/`` together,
            and divide the classes at random: for datasets that have the same classes in all three.
        min_images: classes with fewer images are left out, after the division, so that no class
            changes its split; at least 1. Episodes need n_shot + n_query images of each class.

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
        validation: Share = DEFAULTS[0],
        test: Share = DEFAULTS[1],
        split_seed: Whole = DEFAULTS[2],
        merge_splits: bool = False,
        min_images: Count = 1,
    ) -> None:
        super().__init__(root)
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if validation + test > 1 + 1e-9:
            self._refuse(
                f"validation + {type(self).__name__}.test", "1 at most", f"{validation + test:g}"
            )
        self.path = Path(path).expanduser()
        self.channels = channels
        self.invert = invert
        self.validation = validation
        self.test = test
        self.split_seed = split_seed
        self.merge_splits = merge_splits
        self.min_images = min_images

    def splits(self) -> Splits:
        source = self._located()
        found = find_classes(source, merge=self.merge_splits)
        class_splits = self._class_splits(source, found)
        settings: dict[str, Any] = {
            "files": state(found.files),
            "size": self.size,
            "channels": self.channels,
            "invert": self.invert,
            "digest": "pixels",  # up to version 0.1, of the files' bytes
        }
        if source.below or self.merge_splits:  # the same archive, but other images or another order
            settings |= {"below": source.below, "merge_splits": self.merge_splits}
        bank = cached_bank(self.name, settings, lambda: self._build(found))
        warn_of_shared_images(
            source,
            bank.attributes["digest"],
            [class_splits[label] for label in found.labels],
            lambda row: found.files[row].name,
        )
        bank = ImageBank(bank.images, bank.labels, bank.class_names)
        enough = (bank.class_sizes >= self.min_images).tolist()
        if not any(enough):
            self._refuse("min_images", f"at most {int(bank.class_sizes.max())}", self.min_images)
        train, validation, test = (
            bank.classes(
                [i for i, other in enumerate(class_splits) if other == split and enough[i]]
            )
            for split in SPLITS
        )
        return Splits(train, validation, test)

    def listing(self) -> Listing:
        try:
            source = self._located()
            found = find_classes(source, merge=self.merge_splits)
        except InputError as error:
            return self.absent(error)
        return self.present(str(source), len(found.class_names), len(found.files))

    @property
    def how_to_get(self) -> str:
        return f"put a folder of images for each class into {self.root / self.path}"

    def how_to_fill(self, split: SplitName) -> str:
        source = self._located()
        if find_classes(source, merge=self.merge_splits).class_splits:
            folder = FOLDERS[split]
            how = f"put class folders into {source}/{folder}/"
        elif split == "train":
            how = f"add classes to {source}, or lower validation and test"
        else:
            how = f"add classes to {source}, or raise {split}, a fraction of them"
        return how + ", or lower min_images" * (self.min_images > 1)

    def _located(self) -> Source:
        paths = [self.path, *(root / self.path for root in self.roots)]
        for path in paths:
            if source := locate(path):
                return source
        tried = ", ".join(dict.fromkeys(str(path.absolute()) for path in paths))
        raise InputError(
            f"ImageFolder.path: expected a folder or archive of {LAYOUT}; "
            f"none of these exists: {tried}"
        )

    def _class_splits(self, source: Source, found: Found) -> list[SplitName]:
        """The split of each class: its folder, or drawn."""
        if found.class_splits is None:
            return self._drawn(len(found.class_names))
        if (self.validation, self.test, self.split_seed) != DEFAULTS:
            raise InputError(
                f"ImageFolder: {source} has split folders, so validation, test and split_seed "
                "have no effect: remove them, or set merge_splits: true"
            )
        return found.class_splits

    def _drawn(self, n_classes: int) -> list[SplitName]:
        """A random split for each class. With few classes, one for testing comes first."""
        n_test, n_validation = (
            max(1, round(fraction * n_classes)) if fraction else 0
            for fraction in (self.test, self.validation)
        )
        n_test = min(n_test, n_classes)
        n_validation = min(n_validation, n_classes - n_test)
        sizes = (n_classes - n_validation - n_test, n_validation, n_test)
        return drawn_splits(sizes, self.split_seed)

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


def drawn_splits(sizes: Sequence[int], seed: int) -> list[SplitName]:
    """A random split for each class.

    Args:
        sizes: number of classes of each split.
        seed: of the draw.
    """
    order = torch.randperm(sum(sizes), generator=generator(seed, "folder", "split"))
    drawn = [split for split, n in zip(SPLITS, sizes, strict=True) for _ in range(n)]
    return [drawn[i] for i in order.argsort().tolist()]


def warn_of_shared_images(
    path: object, digests: Tensor, splits: Sequence[SplitName], name_of: Callable[[int], str]
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
