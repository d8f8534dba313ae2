"""``Dataset``: the base class of all datasets, and what they return."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn, TypeVar

from fewshot.data.bank import ImageBank
from fewshot.data.io.images import ImagesWarning as ImagesWarning
from fewshot.data.roots import Roots, data_root
from guided.errors import InputError
from guided.html.fragment import fragment
from guided.ranges import Checked

if TYPE_CHECKING:
    from torch import Tensor

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Splits:
    """Three banks with disjoint classes; where a dataset says so, with disjoint images instead.

    A bank may be empty: a command needs only the splits that it uses, and asks for these by
    :meth:`Dataset.splits_with`.

    Attributes:
        train: for pretraining and meta-training.
        validation: for every choice that is made along the way.
        test: for the errors that are reported.
    """

    train: ImageBank
    validation: ImageBank
    test: ImageBank

    def bank(self, name: SplitName | Literal["all"]) -> ImageBank:
        """One split, or the classes of all of them."""
        banks: dict[str, ImageBank] = vars(self)
        return ImageBank.join(list(banks.values())) if name == "all" else banks[name]

    def _repr_html_(self) -> str:
        banks = [bank.pictures(f"{name}: {bank.size}") for name, bank in vars(self).items()]
        return fragment("Splits", "An image of some classes of each.", pictures=banks)


@dataclass(frozen=True)
class Listing:
    """A dataset's row in the table that ``fewshot data`` prints.

    Attributes:
        name: the dataset's name.
        found: True if its files are there and usable.
        where: the folder that holds them; if not found, the folder that should, or the reason.
        classes: number of classes; ``None`` if not found.
        images: number of images; ``None`` if not found.
        how_to_get: a command, or what to do by hand.
    """

    name: str
    found: bool
    where: str
    classes: int | None
    images: int | None
    how_to_get: str


class Dataset(Checked, ABC):
    """A source of class-labelled images, divided into three splits.

    A subclass takes its settings as keyword arguments and checks them in its constructor, before
    anything is read. It reads nothing until :meth:`splits` or :meth:`listing` is called.

    Args:
        root: the folder or folders that hold the datasets, searched in order;
            see :func:`fewshot.data.data_root`.
    """

    name: ClassVar[str]
    listed: ClassVar[bool] = True  # False: `fewshot data` skips it, since only a config has a path

    def __init__(self, root: Roots | None = None) -> None:
        self.roots = data_root(root)

    @property
    def root(self) -> Path:
        """The first of the roots, into which downloads go."""
        return self.roots[0]

    def _refuse(self, key: str, expected: str, got: object) -> NoReturn:
        raise InputError(f"{type(self).__name__}.{key}: expected {expected}, got {got}")

    def first_found(self, find: Callable[[Path], T | None]) -> T | None:
        """The first true result of ``find(root)`` over the roots, or ``None``."""
        return next((found for root in self.roots if (found := find(root))), None)

    @abstractmethod
    def splits(self) -> Splits:
        """The three banks, decoded, or opened from the cache if they were decoded before.

        Raises:
            InputError: files are missing or unusable.
        """

    def splits_with(self, *needed: SplitName) -> Splits:
        """As :meth:`splits`, with classes in the splits that are needed.

        Raises:
            InputError: one is empty; says how to fill it.
        """
        splits = self.splits()
        counts = {name: splits.bank(name).n_classes for name in SPLITS}
        for name in needed:
            if not counts[name]:
                found = ", ".join(f"{n} {split}" for split, n in counts.items())
                raise InputError(
                    f"{type(self).__name__}: no {name} classes, which this command needs (found "
                    f"{found}); {self.how_to_fill(name)}"
                )
        return splits

    def how_to_fill(self, split: SplitName) -> str:
        """The way to get classes into a split that has none."""
        return "choose other settings"

    @property
    def graph(self) -> Mapping[str, tuple[str, ...]]:
        """The causes of each factor, name -> names, where they are known; else empty."""
        return {}

    def counterfactual(
        self, factors: "Mapping[str, Tensor]", name: str, values: "Tensor"
    ) -> "dict[str, Tensor]":
        """All factors of images after one of them is set: effects follow, with the same noise.

        Args:
            factors: of the images as they are, name -> ``[n]``.
            name: of the factor that is set.
            values: to which, ``[n]``.

        Raises:
            InputError: it is not known which factors cause others.
        """
        raise InputError(f"{self.name}: it is not known which factors cause others")

    def class_counts(self) -> Mapping[SplitName, int]:
        """Number of classes in each split, so that impossible episodes fail before data is read.

        Empty if the settings alone do not determine it.
        """
        return {}

    @abstractmethod
    def listing(self) -> Listing:
        """Location and size of the dataset. Decodes no image."""

    def download(self) -> None:
        """Download the dataset into the first root, unless it is already in one of them.

        Raises:
            InputError: the download failed; says which files to get by hand.
        """
        raise InputError(f"{self.name}: cannot be downloaded; {self.listing().how_to_get}")

    @property
    def how_to_get(self) -> str:
        """The command that downloads the dataset, or another instruction."""
        return f"fewshot data --download {self.name}"

    def present(self, where: Path | str, classes: int, images: int) -> Listing:
        """The listing of a dataset whose files are there."""
        return Listing(self.name, True, str(where), classes, images, self.how_to_get)

    def absent(self, where: object) -> Listing:
        """The listing of a dataset that cannot be read: where it should be, or the reason."""
        return Listing(self.name, False, str(where), None, None, self.how_to_get)

    def not_found(self, looked_for: Sequence[str], conjunction: str = "or") -> InputError:
        """The error for a dataset that is in none of the roots.

        Args:
            looked_for: paths below a root.
            conjunction: "or" if one of them would do, "and" if all are needed.
        """
        paths = f" {conjunction} ".join(looked_for)
        roots = ", ".join(str(root) for root in self.roots)
        return InputError(
            f"{self.name}: {paths} not found in {roots}; get it with: {self.how_to_get}, "
            "or set FEWSHOT_DATA to the folder that holds it"
        )


def fifths(n: int) -> list[int]:
    """Three fifths of n images, one and one: for training, validation and testing."""
    return [n - 2 * (n // 5), n // 5, n // 5]


DatasetFactory = Callable[[Sequence[Path]], Dataset]
