"""``MNIST``: handwritten digits, from the original IDX files."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, Splits
from fewshot.data.io.cache import cached_bank, identity
from fewshot.data.io.download import RemoteFile, download_files
from fewshot.data.roots import Roots, first_existing
from guided.errors import InputError, reason_of
from guided.ranges import Count

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SIDE = 28
MOST = 2**28  # values in a file; the largest of MNIST has 47 million
N_DIGITS = 10
FOLDERS = ("mnist", "MNIST/raw")  # the second is torchvision's
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
REMEDY = "delete it, then run: fewshot data --download mnist"


class MNIST(Dataset):
    """Handwritten digits, 255 on 0, 28×28, in the order of the files.

    Source: LeCun, Bottou, Bengio & Haffner (1998). Read from the four IDX files, plain or
    gzipped, in ``root/mnist`` or ``root/MNIST/raw`` (torchvision's place).

    Differs from the other datasets: the splits are by image. All three have the same ten classes,
    so an error on ``test`` is about new images of known digits, not about new classes.

    Args:
        root: the folder or folders that hold the datasets.
        validation: number of training images, taken from the end, for the validation split; at
            least 1. The others of the 60,000 are ``train``; ``test`` is the files' own 10,000.
        download: download the files if they are missing.

    Raises:
        InputError: ``validation`` is out of range.
    """

    name: ClassVar[str] = "mnist"

    def __init__(
        self, root: Roots | None = None, *, validation: Count = 5000, download: bool = False
    ) -> None:
        super().__init__(root)
        self.validation = validation
        self.fetch_missing = download

    def splits(self) -> Splits:
        if self.fetch_missing:
            self.download()
        files = self.first_found(_files)
        if not files:
            raise self.not_found([f"mnist/{name}.gz" for name in FILES], "and")
        n_train = _shape(files[0])[0]
        if self.validation >= n_train:
            raise InputError(
                f"MNIST.validation: expected fewer than the {n_train} training images, "
                f"got {self.validation}"
            )
        bank = cached_bank(self.name, identity(files), lambda: _build(files))
        row = torch.arange(len(bank))
        return Splits(
            train=bank.rows(row[: n_train - self.validation]),
            validation=bank.rows(row[n_train - self.validation : n_train]),
            test=bank.rows(row[n_train:]),
        )

    def listing(self) -> Listing:
        files = self.first_found(_files)
        if not files:
            return self.absent(self.root / FOLDERS[0])
        try:
            images = sum(_shape(path)[0] for path in files[::2])
        except InputError as error:
            return self.absent(error)
        return self.present(files[0].parent, N_DIGITS, images)

    def download(self) -> None:
        """Download the files (12 MB) into ``root/mnist``, unless MNIST is in one of the roots.

        Raises:
            InputError: the download failed; says which files to get by hand.
        """
        if self.first_found(_files):
            return
        from torchvision.datasets import MNIST as Source

        files = [
            RemoteFile(name, tuple(f"{mirror}{name}" for mirror in Source.mirrors), md5)
            for name, md5 in Source.resources
        ]
        download_files(self.name, files, self.root / FOLDERS[0], URL)


def _files(root: Path) -> list[Path]:
    """The four files, in the order of ``FILES``; empty when no folder has them all."""
    for folder in (root / name for name in FOLDERS):
        pairs = [(folder / name, folder / f"{name}.gz") for name in FILES]
        found = [path for pair in pairs if (path := first_existing(pair))]
        if len(found) == len(FILES):
            return found
    return []


def _build(files: Sequence[Path]) -> ImageBank:
    images, labels = [], []
    for image_file, label_file in (files[:2], files[2:]):
        pixels, digits = read_idx(image_file), read_idx(label_file)
        if pixels.shape[1:] != (SIDE, SIDE):
            raise InputError(
                f"{image_file}: expected images of 28×28 pixels, got {pixels.shape[1:]}"
            )
        if digits.shape != pixels.shape[:1]:
            raise InputError(
                f"{label_file}: expected {len(pixels)} labels, one per image, got {digits.shape}"
            )
        if digits.size and digits.max() >= N_DIGITS:
            raise InputError(f"{label_file}: expected labels 0 … 9, got {digits.max()}")
        images.append(pixels)
        labels.append(digits)
    return ImageBank(
        torch.from_numpy(np.concatenate(images)[:, None]),
        torch.from_numpy(np.concatenate(labels).astype(np.int64)),
        tuple(str(digit) for digit in range(N_DIGITS)),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped if its name ends in ``.gz``.

    Source: http://yann.lecun.com/exdb/mnist, "the IDX file format": 0, 0, 8 (bytes), the number
    of dimensions; each dimension as a big-endian signed number of 32 bits; the values.

    Returns:
        array of the shape in the file's header.

    Raises:
        InputError: the file is truncated or not an IDX file.
    """
    shape = _shape(path)
    start = 4 + 4 * len(shape)
    expected = math.prod(shape)
    found = len(content := _content(path, start + expected + 1)) - start
    if found != expected:
        number = f"{found}" if found < expected else "more"
        raise InputError(f"{path}: its header says {expected} values, it has {number}; {REMEDY}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _shape(path: Path) -> tuple[int, ...]:
    """The dimensions of an IDX file, from its first bytes."""
    header = _content(path, 16)
    n_dimensions = header[3] if header[:3] == b"\0\0\x08" and len(header) > 3 else 0
    if n_dimensions not in (1, 3) or len(header) < 4 + 4 * n_dimensions:
        raise InputError(f"{path}: expected an IDX file of images or labels; {REMEDY}")
    shape = tuple(np.frombuffer(header, ">i4", count=n_dimensions, offset=4).tolist())
    if min(shape) < 0 or math.prod(shape) > MOST:
        raise InputError(
            f"{path}: expected at most {MOST:,} values, its header says {list(shape)}; {REMEDY}"
        )
    return shape


def _content(path: Path, length: int) -> bytes:
    """The first bytes of a file, so many if it has them."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read(length)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: expected a complete IDX file, cannot be read ({reason_of(error)}); {REMEDY}"
        ) from error
