"""CIFAR-FS and FC100: the classes of CIFAR-100, divided for few-shot learning in two ways."""

import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.data.cifar.splits import CIFAR_FS_HELD_OUT, FC100_HELD_OUT
from fewshot.data.dataset import Dataset, Listing, SplitName, Splits
from fewshot.data.folder import SPLITS
from fewshot.data.io.cache import cached_bank, identity
from fewshot.data.io.download import RemoteFile, fetch_file, fetching
from fewshot.data.io.pickles import load_pickle
from guided.errors import InputError

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
PLACES = (".", "cifar-100", "cifar100")
PARTS = {"train": 50_000, "test": 10_000}  # images in each
META = "meta"
N_CLASSES, N_SUPERCLASSES = 100, 20
SHAPE = (3, 32, 32)
URL = "https://www.cs.toronto.edu/~kriz"
FILE = RemoteFile(ARCHIVE, (f"{URL}/{ARCHIVE}",), md5="eb9058c3a382ffc7106e4002c42a8d85")


class CIFAR_FS(Dataset):
    """Natural images in colour, 32×32; a class is one of CIFAR-100's, 600 images each.

    Source: Bertinetto, Henriques, Torr & Vedaldi (2019), arXiv:1805.08136: 64/16/20 classes, drawn
    by chance, of Krizhevsky's (2009) CIFAR-100, whose training and test images are put together.
    Read from the folder ``cifar-100-python`` or its archive ``cifar-100-python.tar.gz`` in
    ``root`` (torchvision's place), ``root/cifar-100`` or ``root/cifar100``, in this order.
    Attribute: ``superclass``, 0 … 19, in alphabetical order. Superclasses are in several splits;
    see :class:`FC100`.

    Args:
        root: the folder that holds the datasets.
        download: fetch the archive when nothing is found.
    """

    name: ClassVar[str] = "cifar_fs"

    def __init__(self, root: Path, *, download: bool = False) -> None:
        super().__init__(root)
        self.fetch_missing = download

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": 64, "validation": 16, "test": 20}

    def splits(self) -> Splits:
        return _splits(self, self.fetch_missing, CIFAR_FS_HELD_OUT, by_superclass=False)

    def listing(self) -> Listing:
        return _listing(self)

    def download(self) -> None:
        _download(self)


class FC100(Dataset):
    """Natural images in colour, 32×32; a class is one of CIFAR-100's, 600 images each.

    Source: Oreshkin, Rodríguez López & Lacoste (2018), arXiv:1805.10123: 12/4/4 superclasses of
    Krizhevsky's (2009) CIFAR-100, which are 60/20/20 classes, so that test classes have less in
    common with those of training than CIFAR-FS's. Files and attribute: as :class:`CIFAR_FS`.

    Args:
        root: the folder that holds the datasets.
        download: fetch the archive when nothing is found.
    """

    name: ClassVar[str] = "fc100"

    def __init__(self, root: Path, *, download: bool = False) -> None:
        super().__init__(root)
        self.fetch_missing = download

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": 60, "validation": 20, "test": 20}

    def splits(self) -> Splits:
        return _splits(self, self.fetch_missing, FC100_HELD_OUT, by_superclass=True)

    def listing(self) -> Listing:
        return _listing(self)

    def download(self) -> None:
        _download(self)


def _splits(
    dataset: Dataset, fetch_missing: bool, held_out: Mapping[str, SplitName], *, by_superclass: bool
) -> Splits:
    """Divide the classes by their names, or by their superclasses'."""
    if fetch_missing:
        _download(dataset)
    source = _found(dataset.root)
    if source is None:
        raise InputError(
            f"{dataset.root / ARCHIVE}: not found, nor is the folder {FOLDER}; "
            f"get it with: {_command(dataset)}, or set FEWSHOT_DATA"
        )
    files = [source / name for name in (*PARTS, META)] if source.is_dir() else [source]
    if missing := [path for path in files if not path.exists()]:
        raise InputError(f"{missing[0]}: not found; delete the folder, then: {_command(dataset)}")
    bank = cached_bank(
        dataset.name, identity(files), lambda: _build(source, held_out, by_superclass)
    )
    splits, start = [], 0
    for n_classes in dataset.class_counts().values():
        splits.append(bank.classes(range(start, start + n_classes)))
        start += n_classes
    return Splits(*splits)


def _listing(dataset: Dataset) -> Listing:
    source = _found(dataset.root)
    if source is None:
        where = str(dataset.root / ARCHIVE)
        return Listing(dataset.name, False, where, None, None, _command(dataset))
    n_images = sum(PARTS.values())
    return Listing(dataset.name, True, str(source), N_CLASSES, n_images, _command(dataset))


def _download(dataset: Dataset) -> None:
    """Fetch CIFAR-100's archive (169 MB) into ``root``, unless it is there."""
    if _found(dataset.root) is None:
        with fetching(dataset.name, f"put {URL}/{ARCHIVE} into {dataset.root}"):
            fetch_file(FILE, dataset.root)


def _command(dataset: Dataset) -> str:
    return f"fewshot data --download {dataset.name}"


def _found(root: Path) -> Path | None:
    places = (root / place for place in PLACES)
    paths = (place / name for place in places for name in (FOLDER, ARCHIVE))
    return next((path for path in paths if path.exists()), None)


def _build(source: Path, held_out: Mapping[str, SplitName], by_superclass: bool) -> ImageBank:
    """Classes by split, then name; of each, training images come first."""
    contents = dict(_read(source))
    if missing := [name for name in (*PARTS, META) if name not in contents]:
        raise InputError(f"{source}: expected CIFAR-100, has no {missing[0]}")
    names, supernames = _names(source, contents[META])
    parts = [_images(source / part, contents.pop(part), n) for part, n in PARTS.items()]
    pixels, fine, coarse = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    superclass = _superclasses(source, names, fine, coarse)
    deciding = [supernames[i] for i in superclass] if by_superclass else names
    if lost := held_out.keys() - set(deciding):
        raise InputError(f"{source}: expected CIFAR-100's classes, has no {min(lost)}")
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
    """Each part's name and what is in it."""
    if source.is_dir():
        for name in (*PARTS, META):
            with open(source / name, "rb") as file:
                yield name, load_pickle(file, str(source / name))
        return
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                content = archive.extractfile(member)
                if content and folder == FOLDER and name in (*PARTS, META):
                    yield name, load_pickle(content, f"{source}/{name}")  # type: ignore[arg-type]
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(
            f"{source}: expected a whole archive, this is none "
            f"(an interrupted download, a web page?): {error}; delete it and fetch it anew"
        ) from error


def _names(source: Path, meta: Any) -> list[list[str]]:
    """Names of the classes, and of the superclasses."""
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
    """That of each class."""
    pairs = np.unique(np.stack([fine, coarse], 1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=N_CLASSES)
    for name, n in zip(names, counts, strict=True):
        if n == 0:
            raise InputError(f"{source}: the class {name} has no images")
        if n > 1:
            raise InputError(f"{source}: the class {name} is in several superclasses, expected one")
    return pairs[:, 1].tolist()


def _images(
    where: Path, content: Any, n: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels ``[n, 3072]``, first all red ones, classes ``[n]`` and superclasses ``[n]``."""
    content = content if isinstance(content, dict) else {}
    pixels = content.get("data", np.empty(0))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise InputError(f"{where}: data: expected an array of uint8")
    if pixels.shape != (n, math.prod(SHAPE)):
        raise InputError(
            f"{where}: data: expected [{n}, {math.prod(SHAPE)}], has {list(pixels.shape)}"
        )
    columns = []
    for key, n_labels in (("fine_labels", N_CLASSES), ("coarse_labels", N_SUPERCLASSES)):
        labels = content.get(key, [])
        ok = isinstance(labels, list) and len(labels) == n
        if not ok or not all(type(label) is int and 0 <= label < n_labels for label in labels):
            raise InputError(f"{where}: {key}: expected {n} numbers from 0 to {n_labels - 1}")
        columns.append(np.array(labels))
    return pixels, columns[0], columns[1]
