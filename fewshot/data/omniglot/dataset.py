"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawers of each."""

import re
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, Splits
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.download import fetching
from fewshot.data.io.images import ImageFile, decode, find_images, state
from fewshot.data.omniglot import splits as omniglot_splits
from fewshot.data.omniglot.splits import EVALUATION, Positions, alphabet
from guided.errors import InputError

SplitScheme = Literal["lake", "vinyals", "random"]
Rotations = Literal["none", "train", "test", "all"]

# Each part's number of images, so that an interrupted extraction is not taken for the dataset.
PARTS = {"images_background": 19_280, "images_evaluation": 13_180}
DRAWING = re.compile(r"\d+_(\d\d)\.png")
DEFAULT_VALIDATION_ALPHABETS = 3
COMMAND = "fewshot data --download omniglot"
URL = "https://github.com/brendenlake/omniglot/tree/master/python"


class Omniglot(Dataset):
    """Handwritten characters, ink 255 on 0; a class is a character, 20 images each.

    Source: Lake, Salakhutdinov & Tenenbaum (2015), Science 350. Read from
    ``images_background.zip`` and ``images_evaluation.zip``, or the folders that they hold, in
    ``root/omniglot``, ``root`` or ``root/omniglot-py`` (torchvision's name), in this order.
    Drawings (105×105) are resized with Lanczos's filter. Attributes: ``alphabet``, 0 … 49, and
    ``drawer``, 0 … 19: the same person within an alphabet, not across alphabets.

    Args:
        root: the folder that holds the datasets.
        split: ``lake``, by alphabet: 964 background characters, of which validation is
            ``validation_alphabets`` whole alphabets, and 659 evaluation characters. ``vinyals``,
            by alphabet but for one that train and test share: 1028/172/423 characters.
            ``random``: 1100/100/423 characters, shuffled by ``split_seed``. Shuffled characters
            are easier: train and test share alphabets.
        rotations: which splits get three more classes a character, turned by 90°, 180° and 270°:
            ``train`` alone, ``test`` (validation and test), ``all`` three, or ``none``.
        size: images' height and width in pixels.
        validation_alphabets: of the split ``lake``, 1 … 29.
        split_seed: draws lake's validation alphabets, shuffles ``random``; >= 0.
        download: fetch the archives when they are missing.

    Raises:
        InputError: a value out of range, or one that the chosen split has no use for.
    """

    name: ClassVar[str] = "omniglot"

    def __init__(
        self,
        root: Path,
        *,
        split: SplitScheme = "lake",
        rotations: Rotations = "none",
        size: int = 28,
        validation_alphabets: int = DEFAULT_VALIDATION_ALPHABETS,
        split_seed: int = 0,
        download: bool = False,
    ) -> None:
        super().__init__(root)
        for key, value, known in (
            ("split", split, get_args(SplitScheme)),
            ("rotations", rotations, get_args(Rotations)),
        ):
            if value not in known:
                raise InputError(f"Omniglot.{key}: expected one of {', '.join(known)}, got {value}")
        if size < 1:
            raise InputError(f"Omniglot.size: expected at least 1 pixel, got {size}")
        if not 1 <= validation_alphabets <= 29:
            raise InputError(
                f"Omniglot.validation_alphabets: expected 1 … 29, got {validation_alphabets}"
            )
        if split_seed < 0:
            raise InputError(f"Omniglot.split_seed: expected >= 0, got {split_seed}")
        if split != "lake" and validation_alphabets != DEFAULT_VALIDATION_ALPHABETS:
            raise InputError(f"Omniglot.validation_alphabets: the split {split} holds out its own")
        if split == "vinyals" and split_seed:
            raise InputError("Omniglot.split_seed: the split vinyals is fixed, it takes no seed")
        self.split = split
        self.rotations = rotations
        self.size = size
        self.validation_alphabets = validation_alphabets
        self.split_seed = split_seed
        self.fetch_missing = download

    def splits(self) -> Splits:
        if self.fetch_missing and not self._sources():
            self.download()
        bank = self._bank()
        positions = self._positions(bank.class_names)
        train, validation, test = (
            bank.classes(chosen)
            for chosen in (positions.train, positions.validation, positions.test)
        )
        if self.rotations in ("train", "all"):
            train = train.with_rotations()
        if self.rotations in ("test", "all"):
            validation, test = validation.with_rotations(), test.with_rotations()
        return Splits(train, validation, test)

    def listing(self) -> Listing:
        where = str(self.root / "omniglot")
        try:
            files = self._files() if self._sources() else []
        except InputError as error:
            files, where = [], str(error)
        if not files:
            return Listing(self.name, False, where, None, None, COMMAND)
        where = str(files[0].container.parent)
        characters = {(file.container, *file.parts[-3:-1]) for file in files}
        return Listing(self.name, True, where, len(characters), len(files), COMMAND)

    def download(self) -> None:
        """Fetch both archives (14 MB) into ``root/omniglot-py``, unless Omniglot is there.

        Raises:
            InputError: they cannot be fetched; says what to do by hand.
        """
        if self._sources():
            return
        by_hand = f"put both .zip files of {URL} into {self.root / 'omniglot'}"
        from torchvision import datasets

        with fetching(self.name, by_hand):
            for background in (True, False):
                datasets.Omniglot(self.root, background=background, download=True)

    def _positions(self, names: tuple[str, ...]) -> Positions:
        if self.split == "lake":
            return omniglot_splits.lake(names, self.validation_alphabets, self.split_seed)
        if self.split == "vinyals":
            return omniglot_splits.vinyals(names)
        return omniglot_splits.shuffled(names, self.split_seed)

    def _candidates(self) -> list[list[Path]]:
        """For each folder that may hold the dataset, what exists of its parts."""
        folders = (self.root / "omniglot", self.root, self.root / "omniglot-py")
        paths = [[(f / f"{part}.zip", f / part) for part in PARTS] for f in folders]
        return [[next((p for p in pair if p.exists()), pair[0]) for pair in f] for f in paths]

    def _sources(self) -> list[Path]:
        """Both parts' archives or folders; empty when no folder has both."""
        return next((p for p in self._candidates() if all(path.exists() for path in p)), [])

    def _files(self) -> list[ImageFile]:
        sources = self._sources()
        if not sources:
            incomplete = (p for p in self._candidates() if any(path.exists() for path in p))
            expected = next(incomplete, self._candidates()[0])
            missing = next(path for path in expected if not path.exists())
            raise InputError(f"{missing}: not found; get it with: {COMMAND}, or set FEWSHOT_DATA")
        files = []
        for source, (part, n_images) in zip(sources, PARTS.items(), strict=True):
            remedy = f"delete it, then: {COMMAND}"
            found = find_images(source, remedy)
            if len(found) != n_images:
                raise InputError(
                    f"{source}: has {len(found)} images, expected the {n_images} of "
                    f"{part}/<alphabet>/<character>; {remedy}"
                )
            files += found
        return files

    def _bank(self) -> ImageBank:
        # Everything is cached once, whatever the split; the splits' banks are made of it.
        files = self._files()
        settings = {"files": state(files), "size": self.size}
        return cached_bank(self.name, settings, lambda: self._build(files))

    def _build(self, files: list[ImageFile]) -> ImageBank:
        labelled = [_described(file) for file in files]
        names = list(dict.fromkeys(name for name, _ in labelled))
        alphabets = list(dict.fromkeys(alphabet(name) for name in names))
        class_index = {name: i for i, name in enumerate(names)}
        alphabet_index = {name: i for i, name in enumerate(alphabets)}
        images, _ = decode(
            files, size=(self.size, self.size), channels=1, invert=True, title=self.name
        )
        return ImageBank(
            images,
            torch.tensor([class_index[name] for name, _ in labelled]),
            tuple(names),
            {
                "alphabet": torch.tensor([alphabet_index[alphabet(name)] for name, _ in labelled]),
                "drawer": torch.tensor([drawer for _, drawer in labelled]),
            },
        )


def _described(file: ImageFile) -> tuple[str, int]:
    """The character's name and the drawer, 0 … 19, of
    ``images_background/Greek/character01/0394_20.png``."""
    parts = file.parts
    drawing = DRAWING.fullmatch(parts[-1])
    if len(parts) < 3 or not drawing:
        raise InputError(f"{file}: expected <alphabet>/<character>/<number>_<drawer>.png")
    part = file.container.stem
    if (parts[-3] in EVALUATION) != (part == "images_evaluation"):
        raise InputError(f"{file}: the alphabet {parts[-3]} is not one of {part}")
    return f"{parts[-3]}/{parts[-2]}", int(drawing[1]) - 1
