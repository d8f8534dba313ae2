"""What a dataset is: somewhere to look, a bank for each split, and how to get it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from fewshot.data.bank import ImageBank
from guided.errors import InputError

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Splits:
    """Three banks with disjoint classes: pretraining and meta-training see only ``train``, every
    choice is made on ``validation``, errors are reported on ``test``."""

    train: ImageBank
    validation: ImageBank
    test: ImageBank


@dataclass(frozen=True)
class Listing:
    """One line of ``fewshot data``."""

    name: str
    found: bool
    where: str
    classes: int | None
    images: int | None
    how_to_get: str


class Dataset(ABC):
    """A source of class-labelled images.

    A dataset's file defines one subclass whose keyword arguments are its configuration; they are
    checked in the constructor, before anything is read.

    Args:
        root: the folder that holds the datasets; see :func:`data_root`.
    """

    name: ClassVar[str]
    listed: ClassVar[bool] = True  # by `fewshot data`; False where only a config says what to list

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def splits(self) -> Splits:
        """Read (or open from the cache) the three banks.

        Raises:
            InputError: files are missing or unusable.
        """

    def class_counts(self) -> Mapping[SplitName, int]:
        """Classes of each split as far as the configuration alone tells; empty: not known yet.

        What is known lets impossible episodes fail before anything is read.
        """
        return {}

    @abstractmethod
    def listing(self) -> Listing:
        """Where the dataset is and how large, without decoding an image."""

    def download(self) -> None:
        """Fetch the dataset into ``root``, unless it is there.

        Raises:
            InputError: it cannot be fetched; says how to get it by hand.
        """
        raise InputError(f"{self.name}: cannot be downloaded; {self.listing().how_to_get}")


DatasetFactory = Callable[[Path], Dataset]


def data_root(given: Path | None = None) -> Path:
    """The folder that holds the datasets: ``given``, else ``FEWSHOT_DATA``, else ``data``."""
    return given or Path(os.environ.get("FEWSHOT_DATA") or "data")
