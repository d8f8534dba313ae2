"""``Omniglot``: 1623 handwritten characters of 50 alphabets, 20 drawers of each."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, Splits
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.download import RemoteFile, download_files
from fewshot.data.io.images import ImageFile, decode, find_images, state
from fewshot.data.omniglot import splits as omniglot_splits
from fewshot.data.omniglot.splits import EVALUATION, Positions, alphabet
from fewshot.data.roots import Roots, first_existing
from guided.errors import InputError
from guided.ranges import Count, Range, Whole

SplitScheme = Literal["lake", "vinyals", "random"]
Rotations = Literal["none", "train", "test", "all"]
Background = Literal["all", "small1", "small2"]

FOLDERS = (
    *("omniglot", ".", "omniglot-py"),  # the last is torchvision's
    *("omniglot/python", "omniglot-master/python", "python"),  # the authors' repository
)
DRAWERS = 20
# Number of images in each part, by which an interrupted extraction is recognised.
PARTS = {"images_background": 19_280, "images_evaluation": 13_180}
DRAWING = re.compile(r"\d+_(\d\d)\.png")
DEFAULT_VALIDATION_ALPHABETS = 3
URL = "https://github.com/brendenlake/omniglot/tree/master/python"


class Omniglot(Dataset):
    """Handwritten characters, ink 255 on 0; a class is a character with 20 images.

    Source: Lake, Salakhutdinov & Tenenbaum (2015), Science 350. Read from
    ``images_background.zip`` and ``images_evaluation.zip``, or the folders that they hold, in
    ``root/omniglot``, ``root``, ``root/omniglot-py`` (torchvision's name) or the authors'
    repository as cloned (``root/omniglot/python``), in this order.
    Drawings (105×105) are resized with a Lanczos filter. Attributes: ``alphabet``, 0 … 49, and
    ``drawer``, 0 … 19: the same person within an alphabet, not across alphabets.

    Args:
        root: the folder or folders that hold the datasets.
        split: ``lake`` is by alphabet: 964 background characters, of which
            ``validation_alphabets`` whole alphabets are for validation, and 659 evaluation
            characters. ``vinyals`` is by alphabet except for one that train and test share:
            1028/172/423 characters. ``random`` has 1100/100/423 characters, shuffled by
            ``split_seed``; it is easier, since train and test share alphabets.
        rotations: the splits whose characters are also turned by 90°, 180° and 270°, as three
            more classes each: ``train``, ``test`` (validation and test), ``all`` or ``none``.
        size: height and width of the images in pixels.
        validation_alphabets: number of validation alphabets of the split ``lake``, 1 … 29.
        split_seed: seed of lake's validation alphabets and of the split ``random``; >= 0.
        background: ``small1`` or ``small2`` trains on five alphabets only, those of the authors'
            ``images_background_small1`` or ``images_background_small2``, a harder task of theirs
            for the split ``lake``; ``all`` on the thirty of ``images_background``.
        download: download the archives if they are missing.

    Raises:
        InputError: a value is out of range, or has no effect on the chosen split.
    """

    name: ClassVar[str] = "omniglot"

    def __init__(
        self,
        root: Roots | None = None,
        *,
        split: SplitScheme = "lake",
        rotations: Rotations = "none",
        size: Count = 28,
        validation_alphabets: Annotated[int, Range(1, 29)] = DEFAULT_VALIDATION_ALPHABETS,
        split_seed: Whole = 0,
        background: Background = "all",
        download: bool = False,
    ) -> None:
        super().__init__(root)
        if split != "lake" and validation_alphabets != DEFAULT_VALIDATION_ALPHABETS:
            raise InputError(
                f"Omniglot.validation_alphabets: has no effect on the split {split}; remove it"
            )
        if split == "vinyals" and split_seed:
            raise InputError("Omniglot.split_seed: has no effect on the split vinyals; remove it")
        if split != "lake" and background != "all":
            raise InputError(f"Omniglot.background: has no effect on the split {split}; remove it")
        if download and background != "all":
            raise InputError(
                "Omniglot.download: brings no small sets of alphabets; get them from " + URL
            )
        self.split = split
        self.background = background
        self.rotations = rotations
        self.size = size
        self.validation_alphabets = validation_alphabets
        self.split_seed = split_seed
        self.fetch_missing = download

    def splits(self) -> Splits:
        if self.fetch_missing:
            self.download()
        bank = self.bank()
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
        if not self.first_found(self._sources):
            return self.absent(self.root / FOLDERS[0])
        try:
            files = self._files()
        except InputError as error:
            return self.absent(error)
        characters = {(file.container, *file.parts[-3:-1]) for file in files}
        return self.present(files[0].container.parent, len(characters), len(files))

    def download(self) -> None:
        """Download both archives (14 MB) into ``root/omniglot``, unless a root has Omniglot.

        Raises:
            InputError: the download failed; says which files to get by hand.
        """
        if self.first_found(self._sources):
            return
        from torchvision.datasets import Omniglot as Source

        files = [
            RemoteFile(f"{part}.zip", (f"{Source.download_url_prefix}/{part}.zip",), md5)
            for part, md5 in Source.zips_md5.items()
        ]
        download_files(self.name, files, self.root / FOLDERS[0], URL)

    def _positions(self, names: tuple[str, ...]) -> Positions:
        if self.split == "lake":
            return omniglot_splits.lake(names, self.validation_alphabets, self.split_seed)
        if self.split == "vinyals":
            return omniglot_splits.vinyals(names)
        return omniglot_splits.shuffled(names, self.split_seed)

    def _files(self) -> list[ImageFile]:
        sources = self.first_found(self._sources)
        if not sources:
            raise self.not_found([f"{FOLDERS[0]}/{part}.zip" for part in self._parts], "and")
        files = []
        remedy = f"delete it, then run: {self.how_to_get}"
        for source, part in zip(sources, self._parts, strict=True):
            found = find_images(source, remedy)
            characters = {tuple(file.parts[-3:-1]) for file in found}
            expected = PARTS.get(part, len(characters) * DRAWERS or "many")
            if len(found) != expected:
                raise InputError(
                    f"{source}: expected the {expected} images of {part}/<alphabet>/<character>, "
                    f"found {len(found)}; {remedy}"
                )
            files += found
        return files

    @property
    def how_to_get(self) -> str:
        if self.background == "all":
            return super().how_to_get
        return f"put {self._parts[0]}.zip of {URL} beside {self._parts[1]}.zip"

    @property
    def _parts(self) -> list[str]:
        first, second = PARTS
        return [first if self.background == "all" else f"{first}_{self.background}", second]

    def _sources(self, root: Path) -> list[Path]:
        """The archives or folders of both parts; empty when no folder has both."""
        for folder in (root / name for name in FOLDERS):
            pairs = [(folder / f"{part}.zip", folder / part) for part in self._parts]
            found = [path for pair in pairs if (path := first_existing(pair))]
            if len(found) == len(pairs):
                return found
        return []

    def bank(self) -> ImageBank:
        """All 1623 characters as one bank, of which every split is a part; cached once."""
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
    """``("Greek/character01", 19)``, the class and the drawer 0 … 19, for
    ``images_background/Greek/character01/0394_20.png``."""
    parts = file.parts
    drawing = DRAWING.fullmatch(parts[-1])
    if len(parts) < 3 or not drawing:
        raise InputError(f"{file}: expected <alphabet>/<character>/<number>_<drawer>.png")
    part = file.container.stem
    if (parts[-3] in EVALUATION) != (part == "images_evaluation"):
        raise InputError(f"{file}: {parts[-3]} is not an alphabet of {part}")
    return f"{parts[-3]}/{parts[-2]}", int(drawing[1]) - 1
