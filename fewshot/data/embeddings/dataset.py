"""``Embeddings``: features and labels from files, of whatever made them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits
from fewshot.data.embeddings.bank import EmbeddingBank
from fewshot.data.embeddings.files import ALONE, Array, read_arrays
from fewshot.data.folder import drawn_splits
from fewshot.data.layouts import SPLIT_FOLDERS
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Share, Whole

LABELS = ("labels", "label", "y", "targets", "target", "class", "classes")
"""Names under which labels are looked for."""

SPLIT, NAMES = "split", "class_names"


class Facts(NamedTuple):
    """What a file tells of its rows, besides their embeddings; None: nothing.

    Attributes:
        labels: ``[N]``.
        split: name of the split of each row, ``[N]``.
        class_names: of the numbers 0 ….
    """

    labels: Array | None
    split: Array | None
    class_names: Array | None


class Embeddings(Dataset):
    """Embeddings ``[N, d]`` with a label for each, computed elsewhere.

    Files: ``.npz`` and ``.pt`` with arrays by name, ``.parquet`` with a column of lists or a column
    for each number, ``.npy``, which holds the embeddings alone. Arrays with two dimensions are
    embeddings; several of the same images stand side by side, and ``latents`` of an arm (or of
    ``fewshot evaluate``) chooses among them by name. ``class_names`` names the classes of labels
    that are numbers from 0.

    An array ``split`` with ``train``, ``val`` or ``test`` for each row says which classes are in
    which split; otherwise they are divided at random, as those of :class:`.ImageFolder`.

    Args:
        root: the folder or folders that hold the datasets.
        path: the file, relative to the working directory or else to a root; or name -> file, for
            embeddings of the same images by several encoders.
        labels: a file with the labels (``.npy``, ``.txt`` with one a line, or as above); null: they
            are in the file of the embeddings.
        label: name of the array or column of labels; null: one of labels, label, y, targets,
            target, class, classes.
        features: name of the array or column of embeddings; null: all with two dimensions.
        validation: fraction of the classes, in [0, 1]; without ``split`` only.
        test: the same for the test split; 1 with ``validation`` 0: all classes are tested.
        split_seed: seed of the division into splits, >= 0; without ``split`` only.

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "embeddings"
    listed: ClassVar[bool] = False

    def __init__(
        self,
        root: Roots | None = None,
        *,
        path: Path | str | dict[str, Path],
        labels: Path | str | None = None,
        label: str | None = None,
        features: str | None = None,
        validation: Share = 0.15,
        test: Share = 0.25,
        split_seed: Whole = 0,
    ) -> None:
        super().__init__(root)
        if validation + test > 1:
            self._refuse("validation + test", "at most 1", f"{validation + test:g}")
        if isinstance(path, Mapping) and not path:
            self._refuse("path", "a file, or name: file", "none")
        named = path if isinstance(path, Mapping) else {"": path}
        self.paths = {name: Path(file).expanduser() for name, file in named.items()}
        self.label_file = Path(labels).expanduser() if labels else None
        self.label, self.chosen = label, features
        self.validation, self.test, self.split_seed = validation, test, split_seed

    def splits(self) -> Splits:
        bank, split = self._read()
        of_classes = self._drawn(bank.n_classes) if split is None else _of_classes(bank, split)
        train, validation, test = (
            bank.classes([i for i, other in enumerate(of_classes) if other == name])
            for name in SPLITS
        )
        return Splits(train, validation, test)

    def listing(self) -> Listing:
        try:
            bank, _ = self._read()
        except InputError as error:
            return self.absent(error)
        return self.present(next(iter(self.paths.values())), bank.n_classes, len(bank))

    @property
    def how_to_get(self) -> str:
        return f"put a file of embeddings and labels into {self.root}"

    def _read(self) -> tuple[EmbeddingBank, Array | None]:
        """All embeddings, and the split of each row if it is given."""
        files = {name: self._located(path) for name, path in self.paths.items()}
        features: dict[str, Array] = {}
        facts: dict[Path, Facts] = {}
        for name, path in files.items():
            arrays = read_arrays(path)
            facts[path] = self._facts(arrays, path, labelled=self.label_file is None)
            own = self._features(arrays, path)
            features |= {_joined(name, inner, len(own)): own[inner] for inner in own}
        if self.label_file:
            path = self._located(self.label_file)
            facts[path] = self._facts(read_arrays(path), path, labelled=True, of_labels=True)
        labels, names = _agreed(facts, "labels"), _agreed(facts, NAMES)
        first = next(iter(files.values()))
        if labels is None:
            raise InputError(
                f"Embeddings.labels: {first} has none under {', '.join(LABELS)}; name their file "
                "by labels, or their array by label"
            )
        try:
            bank = EmbeddingBank.from_arrays(features, labels, None if names is None else [*names])
        except InputError as error:
            raise InputError(f"{first}: {error}") from error
        return bank, _agreed(facts, SPLIT)

    def _located(self, path: Path) -> Path:
        paths = [path, *(root / path for root in self.roots)]
        there = next((p for p in paths if p.is_file()), None)
        if there is None:
            tried = ", ".join(dict.fromkeys(str(p.absolute()) for p in paths))
            raise InputError(f"Embeddings.path: none of these files exists: {tried}")
        return there

    def _features(self, arrays: dict[str, Array], path: Path) -> dict[str, Array]:
        """The embeddings ``[N, d]`` among the arrays of a file."""
        if self.chosen:
            if self.chosen not in arrays:
                raise InputError(
                    f"Embeddings.features: {path} has no {self.chosen!r}; it has {_shapes(arrays)}"
                )
            arrays = {self.chosen: arrays[self.chosen]}
        features = {k: v for k, v in arrays.items() if v.ndim == 2 and v.dtype.kind in "fiu"}
        columns = [v for v in arrays.values() if v.ndim == 1 and v.dtype.kind in "fiu"]
        if not features and columns and path.suffix.lower() == ".parquet":
            features = {ALONE: np.stack(columns, 1)}
        if not features:
            raise InputError(f"{path}: expected embeddings [N, d], found {_shapes(arrays)}")
        return features

    def _facts(
        self, arrays: dict[str, Array], path: Path, *, labelled: bool, of_labels: bool = False
    ) -> Facts:
        """What a file tells of its rows, which its arrays lose.

        Args:
            arrays: of the file.
            path: of the file.
            labelled: its labels count.
            of_labels: it is a file of labels: they must be there, and are its only array if it has
                one.
        """
        split, names = arrays.pop(SPLIT, None), arrays.pop(NAMES, None)
        labels = None
        if of_labels and len(arrays) == 1:
            (labels,) = arrays.values()
        elif labelled:
            labels = self._taken_labels(arrays, path)
        if of_labels and labels is None:
            raise InputError(
                f"Embeddings.label: which array of {path} holds the labels? {_shapes(arrays)}"
            )
        for name in LABELS:  # also those that do not count are no embeddings
            if name in arrays and arrays[name].ndim == 1:
                del arrays[name]
        return Facts(labels, split, names)

    def _taken_labels(self, arrays: dict[str, Array], path: Path) -> Array | None:
        """The labels among the arrays, which lose them."""
        if self.label:
            if self.label not in arrays:
                raise InputError(
                    f"Embeddings.label: {path} has no {self.label!r}; it has {_shapes(arrays)}"
                )
            return arrays.pop(self.label)
        return next((arrays.pop(name) for name in LABELS if name in arrays), None)

    def _drawn(self, n_classes: int) -> list[SplitName]:
        """A random split for each class, as that of a folder of images."""
        shares = (self.validation, self.test)
        held_out = [max(1, round(share * n_classes)) if share else 0 for share in shares]
        n_train = n_classes - sum(held_out)
        if n_train < (sum(shares) < 1):
            raise InputError(
                f"Embeddings: expected at least {sum(held_out) + 1} classes to divide into splits, "
                f"found {n_classes}"
            )
        return drawn_splits([n_train, *held_out], self.split_seed)


def _agreed(facts: Mapping[Path, Facts], name: str) -> Array | None:
    """What the files tell by one name, which must be the same; None if none tells it."""
    known = {path: getattr(own, name) for path, own in facts.items()}
    known = {path: told for path, told in known.items() if told is not None}
    if not known:
        return None
    first, *others = known
    for other in others:
        if not np.array_equal(known[first], known[other]):
            raise InputError(
                f"Embeddings.path: {first} and {other} have other {name}; expected embeddings of "
                "the same images in the same order"
            )
    agreed: Array = known[first]
    return agreed


def _of_classes(bank: EmbeddingBank, split: Array) -> list[SplitName]:
    """The split of each class, from that of each row."""
    words = np.asarray(split).astype(str)
    if words.shape != (len(bank),):
        raise InputError(
            f"Embeddings: split has shape {list(words.shape)}, expected one for each of "
            f"{len(bank)} rows"
        )
    known, numbers = np.unique(words, return_inverse=True)
    for word in known:
        if word.lower() not in SPLIT_FOLDERS:
            raise InputError(f"Embeddings: split: expected train, val or test, got {str(word)!r}")
    place = [SPLITS.index(SPLIT_FOLDERS[word.lower()]) for word in known]
    rows, labels = np.array(place)[numbers.reshape(-1)], bank.labels.numpy()
    lowest = np.full(bank.n_classes, len(SPLITS))
    np.minimum.at(lowest, labels, rows)
    mixed = (lowest[labels] != rows).nonzero()[0]
    if len(mixed):
        name = bank.class_names[labels[mixed[0]]]
        raise InputError(
            f"Embeddings: split: the class {name!r} is in {SPLITS[lowest[labels[mixed[0]]]]} and "
            f"in {SPLITS[rows[mixed[0]]]}; expected each class in one split"
        )
    return [SPLITS[i] for i in lowest.tolist()]


def _joined(file: str, array: str, of: int) -> str:
    """The name of embeddings: that of their file, with that of the array if there are several."""
    return array if not file else file if of == 1 else f"{file} {array}"


def _shapes(arrays: Mapping[str, Array]) -> str:
    shown: Sequence[str] = [f"{k} {list(v.shape)} {v.dtype}" for k, v in arrays.items()]
    return ", ".join(shown[:6]) or "nothing"
