"""MNIST: handwritten digits, from the original IDX files."""

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
from fewshot.data.io.download import fetching
from guided.errors import InputError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SIDE = 28
N_DIGITS = 10
COMMAND = "fewshot data --download mnist"
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"


class MNIST(Dataset):
    """Digits, white 255 on 0, 28×28, in the files' order; for pretraining and for figures.

    Source: LeCun, Bottou, Bengio & Haffner (1998). Read from the four IDX files, as they are or
    gzipped, in ``root/mnist`` or ``root/MNIST/raw`` (torchvision's place).

    Differs from other datasets: splits are by image. All three have the same ten classes, so an
    error on ``test`` is about new images of known digits, not about new classes.

    Args:
        root: the folder that holds the datasets.
        validation: training images, the last ones, that make the validation split; at least 1.
            The rest (of 60,000) is ``train``; ``test`` is the files' own 10,000.
        download: fetch the files when they are missing.
    """

    name: ClassVar[str] = "mnist"

    def __init__(self, root: Path, *, validation: int = 5000, download: bool = False) -> None:
        super().__init__(root)
        if validation < 1:
            raise InputError(f"MNIST.validation: expected at least 1 image, got {validation}")
        self.validation = validation
        self.fetch_missing = download

    def splits(self) -> Splits:
        if self.fetch_missing and not self._found():
            self.download()
        files = self._found()
        if not files:
            raise InputError(
                f"{self.root / 'mnist' / FILES[0]}.gz: not found, nor are the three other files "
                f"in one folder with it; get them with: {COMMAND}, or set FEWSHOT_DATA"
            )
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
        where = str(self.root / "mnist")
        try:
            files = self._found()
            images = sum(_shape(path)[0] for path in files[::2])
        except InputError as error:
            files, where = [], str(error)
        if not files:
            return Listing(self.name, False, where, None, None, COMMAND)
        return Listing(self.name, True, str(files[0].parent), N_DIGITS, images, COMMAND)

    def download(self) -> None:
        """Fetch the files (12 MB) into ``root/MNIST/raw``, unless MNIST is there.

        Raises:
            InputError: they cannot be fetched; says what to do by hand.
        """
        if self._found():
            return
        from torchvision import datasets

        names = ", ".join(f"{name}.gz" for name in FILES)
        with fetching(self.name, f"put {names} from {URL} into {self.root / 'mnist'}"):
            datasets.MNIST(self.root, download=True)

    def _found(self) -> list[Path]:
        """The four files, in the order of ``FILES``; empty when no folder has them all."""
        for folder in (self.root / "mnist", self.root / "MNIST" / "raw"):
            pairs = [(folder / name, folder / f"{name}.gz") for name in FILES]
            found = [path for pair in pairs for path in pair if path.exists()]
            if len({path.name.removesuffix(".gz") for path in found}) == len(FILES):
                return [next(path for path in pair if path.exists()) for pair in pairs]
        return []


def _build(files: Sequence[Path]) -> ImageBank:
    images, labels = [], []
    for image_file, label_file in (files[:2], files[2:]):
        pixels, digits = read_idx(image_file), read_idx(label_file)
        if pixels.shape[1:] != (SIDE, SIDE):
            raise InputError(f"{image_file}: expected images of 28×28, has {pixels.shape[1:]}")
        if digits.shape != pixels.shape[:1]:
            raise InputError(
                f"{label_file}: expected {len(pixels)} labels, one an image, has {digits.shape}"
            )
        if digits.size and digits.max() >= N_DIGITS:
            raise InputError(f"{label_file}: expected labels 0 … 9, has {digits.max()}")
        images.append(pixels)
        labels.append(digits)
    return ImageBank(
        torch.from_numpy(np.concatenate(images)[:, None]),
        torch.from_numpy(np.concatenate(labels).astype(np.int64)),
        tuple(str(digit) for digit in range(N_DIGITS)),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes, gzipped if its name ends so.

    Source: http://yann.lecun.com/exdb/mnist, "the IDX file format": 0, 0, 8 (bytes), the number
    of dimensions; each dimension as a big-endian int32; the values.

    Raises:
        InputError: it is truncated, or no such file.
    """
    shape = _shape(path)
    start = 4 + 4 * len(shape)
    content = _content(path)
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path}: expected {math.prod(shape)} values, as its header says, has "
            f"{len(content) - start}; delete it, then: {COMMAND}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _shape(path: Path) -> tuple[int, ...]:
    """An IDX file's dimensions, from its first bytes."""
    header = _content(path, 16)
    n_dimensions = header[3] if header[:3] == b"\0\0\x08" and len(header) > 3 else 0
    if n_dimensions not in (1, 3) or len(header) < 4 + 4 * n_dimensions:
        raise InputError(
            f"{path}: expected an IDX file of images or labels; delete it, then: {COMMAND}"
        )
    return tuple(np.frombuffer(header, ">i4", count=n_dimensions, offset=4).tolist())


def _content(path: Path, length: int = -1) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read(length)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: expected a whole IDX file, cannot be read ({error}); "
            f"delete it, then: {COMMAND}"
        ) from error
