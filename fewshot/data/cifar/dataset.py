"""``CIFAR_FS`` and ``FC100``: the classes of CIFAR-100, divided in two ways."""

import math
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.data.cifar.splits import CIFAR_FS_HELD_OUT, FC100_HELD_OUT
from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits
from fewshot.data.io.cache import cached_bank, identity
from fewshot.data.io.containers import MISSING, read_each
from fewshot.data.io.download import RemoteFile, download_files
from fewshot.data.io.pickles import load_pickle
from fewshot.data.roots import Roots, first_existing
from guided.errors import InputError

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
PLACES = (".", "cifar-100", "cifar100")
PARTS = {"train": 50_000, "test": 10_000}  # images in each
META = "meta"
N_CLASSES, N_SUPERCLASSES = 100, 20
SHAPE = (3, 32, 32)
URL = "https://www.cs.toronto.edu/~kriz"
FILE = RemoteFile(ARCHIVE, (f"{URL}/{ARCHIVE}",), "eb9058c3a382ffc7106e4002c42a8d85")


class _CIFAR100(Dataset):
    """CIFAR-100's images, its classes divided by their names or their superclasses' names."""

    held_out: ClassVar[Mapping[str, SplitName]]  # name -> split; the other names are train
    by_superclass: ClassVar[bool]

    def __init__(self, root: Roots | None = None, *, download: bool = False) -> None:
        super().__init__(root)
        self.fetch_missing = download

    def splits(self) -> Splits:
        if self.fetch_missing:
            self.download()
        source = self.first_found(_source)
        if source is None:
            raise self.not_found([ARCHIVE, FOLDER])
        files = [source / name for name in (*PARTS, META)] if source.is_dir() else [source]
        if missing := [path for path in files if not path.exists()]:
            raise InputError(
                f"{missing[0]}: not found; delete its folder, then run: {self.how_to_get}"
            )
        bank = cached_bank(
            self.name,
            identity(files),
            lambda: _build(source, self.held_out, self.by_superclass),
        )
        bounds = [0, *accumulate(self.class_counts().values())]
        return Splits(*(bank.classes(range(start, stop)) for start, stop in pairwise(bounds)))

    def listing(self) -> Listing:
        source = self.first_found(_source)
        if source is None:
            return self.absent(self.root / ARCHIVE)
        return self.present(source, N_CLASSES, sum(PARTS.values()))

    def download(self) -> None:
        """Download CIFAR-100's archive (169 MB) into the first root, unless a root has it.

        Raises:
            InputError: the download failed; says which file to get by hand.
        """
        if self.first_found(_source) is None:
            download_files(self.name, [FILE], self.root, URL)


class CIFAR_FS(_CIFAR100):
    """Natural images in colour, 32×32; a class is one of CIFAR-100's, with 600 images.

    Source: Bertinetto, Henriques, Torr & Vedaldi (2019), arXiv:1805.08136: 64/16/20 random
    classes of Krizhevsky's (2009) CIFAR-100, its training and test images taken together. Read
    from the folder ``cifar-100-python`` or its archive ``cifar-100-python.tar.gz`` in ``root``
    (torchvision's place), ``root/cifar-100`` or ``root/cifar100``, in this order. Attribute:
    ``superclass``, 0 … 19, in alphabetical order. A superclass may be in several splits; see
    :class:`FC100`.

    Args:
        root: the folder or folders that hold the datasets.
        download: download the archive if nothing is found.
    """

    name: ClassVar[str] = "cifar_fs"
    held_out = CIFAR_FS_HELD_OUT
    by_superclass = False

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": 64, "validation": 16, "test": 20}


class FC100(_CIFAR100):
    """Natural images in colour, 32×32; a class is one of CIFAR-100's, with 600 images.

    Source: Oreshkin, Rodríguez López & Lacoste (2018), arXiv:1805.10123: 12/4/4 superclasses of
    Krizhevsky's (2009) CIFAR-100, which are 60/20/20 classes, so that test classes have less in
    common with those of training than CIFAR-FS's. Files and attribute: as :class:`CIFAR_FS`.

    Args:
        root: the folder or folders that hold the datasets.
        download: download the archive if nothing is found.
    """

    name: ClassVar[str] = "fc100"
    held_out = FC100_HELD_OUT
    by_superclass = True

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": 60, "validation": 20, "test": 20}


def _source(root: Path) -> Path | None:
    return first_existing(root / place / name for place in PLACES for name in (FOLDER, ARCHIVE))


def _build(source: Path, held_out: Mapping[str, SplitName], by_superclass: bool) -> ImageBank:
    """The bank of all images: by split, class name, and training images before test images."""
    contents = dict(_read(source))
    if missing := [name for name in (*PARTS, META) if name not in contents]:
        raise InputError(f"{source}: expected CIFAR-100, found no file {missing[0]} in it")
    names, supernames = _names(source, contents[META])
    parts = [_images(source / part, contents.pop(part), n) for part, n in PARTS.items()]
    pixels, fine, coarse = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    superclass = _superclasses(source, names, fine, coarse)
    deciding = [supernames[i] for i in superclass] if by_superclass else names
    if lost := held_out.keys() - set(deciding):
        raise InputError(f"{source}: expected CIFAR-100's classes, found no {min(lost)}")
    split = [SPLITS.index(held_out.get(name, "train")) for name in deciding]
    classes = sorted(range(N_CLASSES), key=lambda i: (split[i], names[i]))
    label = torch.from_numpy(np.argsort(classes)[fine])
    order = label.argsort(stable=True)
    return ImageBank(
        torch.from_numpy(pixels)[order].reshape(-1, *SHAPE),
        label[order],
        tuple(names[i] for i in classes),
        {"superclass": torch.from_numpy(coarse)[order]},
    )


def _read(source: Path) -> Iterator[tuple[str, Any]]:
    """Name and content of each pickle."""
    names = {f"{FOLDER}/{name}" if source.is_file() else name: name for name in (*PARTS, META)}
    for path, content in read_each(source, list(names)):
        name = names[path]
        if isinstance(content, bytes):
            yield name, load_pickle(BytesIO(content), str(source / name))
        elif content != MISSING:
            raise InputError(f"{source / name}: cannot be read ({content})")


def _names(source: Path, meta: Any) -> list[list[str]]:
    """The names of the classes and of the superclasses."""
    columns = []
    for key, n in (("fine_label_names", N_CLASSES), ("coarse_label_names", N_SUPERCLASSES)):
        names = meta.get(key) if isinstance(meta, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            names = []
        if len(set(names)) != n or len(names) != n:
            raise InputError(f"{source / META}: {key}: expected {n} different names")
        columns.append(names)
    return columns


def _superclasses(
    source: Path, names: list[str], fine: NDArray[np.int64], coarse: NDArray[np.int64]
) -> list[int]:
    """The superclass of each class."""
    pairs = np.unique(np.stack([fine, coarse], 1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=N_CLASSES)
    for name, n in zip(names, counts, strict=True):
        if n == 0:
            raise InputError(f"{source}: the class {name} has no images")
        if n > 1:
            raise InputError(f"{source}: the class {name} is in several superclasses")
    return pairs[:, 1].tolist()


def _images(
    where: Path, content: Any, n: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels ``[n, 3072]`` (red, green, blue), classes ``[n]`` and superclasses ``[n]``."""
    content = content if isinstance(content, dict) else {}
    pixels = content.get("data", np.empty(0))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise InputError(f"{where}: data: expected an array of uint8")
    if pixels.shape != (n, math.prod(SHAPE)):
        raise InputError(
            f"{where}: data: expected [{n}, {math.prod(SHAPE)}], got {list(pixels.shape)}"
        )
    columns = []
    for key, n_labels in (("fine_labels", N_CLASSES), ("coarse_labels", N_SUPERCLASSES)):
        labels = content.get(key, [])
        ok = isinstance(labels, list) and len(labels) == n
        if not ok or not all(type(label) is int and 0 <= label < n_labels for label in labels):
            raise InputError(f"{where}: {key}: expected {n} numbers from 0 to {n_labels - 1}")
        columns.append(np.array(labels))
    return pixels, columns[0], columns[1]
