"""Lake's one-shot classification task: his own runs, or runs drawn like them.

Source: Lake, Salakhutdinov & Tenenbaum (2015), Science 350. A run is 20 training images, one of
each of 20 characters of one alphabet, all by one drawer, and 20 test images, the same characters
by another drawer. A test image is classified among the training images: 20-way, one shot.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.io.containers import read_text
from fewshot.data.io.images import ImageFile, decode, find_images
from fewshot.data.omniglot.splits import alphabet
from fewshot.episodes import Episodes
from guided.errors import InputError
from guided.seeds import generator

N_RUNS = 20
N_CHARACTERS = 20
RUNS_PER_ALPHABET = 2
NUMBERS = [f"{i:02}" for i in range(1, N_CHARACTERS + 1)]
FIRST = "run01/training/class01.png"
URL = "https://github.com/brendenlake/omniglot/tree/master/python/one-shot-classification"
REMEDY = f"get all_runs.zip of {URL}"

Source = Literal["own", "drawn"]
SOURCES: tuple[Source, ...] = ("own", "drawn")
TITLES: dict[Source, str] = {
    "own": "Lake's own runs",
    "drawn": "runs drawn like Lake's from the evaluation characters; not his",
}


@dataclass(frozen=True)
class LakeRuns:
    """R runs of the task as R episodes of images.

    Attributes:
        episodes: uint8, support and query ``[R, 20, 1, 1, H, W]``, ink 255 on 0; the query of a
            position is the test image of that position's character.
        names: of the runs.
        source: Lake's own, or drawn here like them.
    """

    episodes: Episodes
    names: tuple[str, ...]
    source: Source

    def __len__(self) -> int:
        return len(self.names)

    @property
    def title(self) -> str:
        """Words that name their origin."""
        return TITLES[self.source]

    @property
    def trials(self) -> int:
        """Test images in all runs."""
        return len(self) * N_CHARACTERS

    @cached_property
    def digest(self) -> str:
        """Short digest of the images in their order."""
        hashed = hashlib.blake2b(digest_size=8)
        for images in (self.episodes.support, self.episodes.query):
            hashed.update(images.contiguous().numpy().data)
        return hashed.hexdigest()


def find_archive(root: Path) -> Path | None:
    """``all_runs.zip`` or the folder ``all_runs`` in ``root/omniglot``, ``root`` or a clone of the
    authors' repository, if there."""
    cloned = ("omniglot/python", "omniglot-master/python", "python")
    folders = [root / "omniglot", root, *(root / p / "one-shot-classification" for p in cloned)]
    paths = (folder / name for folder in folders for name in ("all_runs.zip", "all_runs"))
    return next((path for path in paths if path.exists()), None)


def read_runs(container: Path, size: int) -> LakeRuns:
    """Lake's own 20 runs, decoded as :class:`.Omniglot` decodes its images.

    Args:
        container: his ``all_runs.zip``, or the folder that it holds.
        size: images' height and width in pixels.

    Raises:
        InputError: a file is missing or damaged, or a run's ``class_labels.txt`` does not pair
            each of its test images with another of its training images.
    """
    names = {file.name for file in find_images(container, REMEDY)}
    prefix = _prefix(container, names)
    runs = [f"run{i:02}" for i in range(1, N_RUNS + 1)]
    training = [f"{run}/training/class{n}.png" for run in runs for n in NUMBERS]
    tests = [f"{run}/test/item{n}.png" for run in runs for n in NUMBERS]
    for name in (*training, *tests):
        if prefix + name not in names:
            raise InputError(
                f"{container / prefix / name}: missing; expected {N_RUNS} runs of {N_CHARACTERS} "
                f"training and {N_CHARACTERS} test images: {REMEDY}"
            )
    answers: dict[str, str] = {}
    for run in runs:
        name = f"{prefix}{run}/class_labels.txt"
        answers |= _pairs(run, container / name, read_text(container, name, REMEDY))
    ordered = (*training, *(answers[name] for name in training))
    files = [ImageFile(container, prefix + name) for name in ordered]
    images, _ = decode(files, size=(size, size), channels=1, invert=True, title="Lake's runs")
    support, query = images.unflatten(0, (2, N_RUNS, N_CHARACTERS, 1))
    return LakeRuns(Episodes(support, query), tuple(runs), "own")


def _prefix(container: Path, names: set[str]) -> str:
    """The part of the files' names before ``run01``: empty, or a folder."""
    found = [name.removesuffix(FIRST) for name in names if f"/{name}".endswith(f"/{FIRST}")]
    if len(found) != 1:
        raise InputError(
            f"{container}: has {len(found)} files {FIRST}, expected one with 19 more runs beside "
            f"it: {REMEDY}"
        )
    return found[0]


def _pairs(run: str, file: Path, text: str) -> dict[str, str]:
    """Training image -> test image of the same character, for each of a run's characters."""
    tests = {f"{run}/test/item{n}.png" for n in NUMBERS}
    training = {f"{run}/training/class{n}.png" for n in NUMBERS}
    pairs: dict[str, str] = {}
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        # Copies differ in the folders above the run.
        test, answer = ["/".join(word.split("/")[-3:]) for word in [*line.split(), "", ""][:2]]
        if len(line.split()) != 2 or test not in tests or answer not in training:
            raise InputError(
                f"{file}: has the line {line[:100]!r}, expected a test and a training image of the "
                f"run, each named once, as in '{run}/test/item01.png {run}/training/class07.png'"
            )
        tests.remove(test)
        training.remove(answer)
        pairs[answer] = test
    if training:
        raise InputError(f"{file}: has {len(lines)} lines, expected {N_CHARACTERS}")
    return pairs


def draw_runs(bank: ImageBank, n_runs: int = N_RUNS, seed: int = 0) -> LakeRuns:
    """Runs of the same protocol from a bank; run *i* depends on the seed and *i* alone.

    As in Lake's task each alphabet that is drawn serves two runs: 20 runs, ten alphabets. An
    alphabet comes again when all have been drawn. Which characters and drawers Lake's runs show is
    not reproduced.

    Args:
        bank: of Omniglot's evaluation characters, with ``alphabet`` and ``drawer``.
        n_runs: how many, at least 1.
        seed: of alphabets, characters and drawers, >= 0.

    Raises:
        InputError: no alphabet has 20 characters, or no two drawers drew 20 of them.
    """
    rows = _rows(bank)
    of_class = bank.attributes["alphabet"][rows.amax(1)]
    alphabets = [(of_class == a).nonzero().squeeze(1) for a in of_class.unique().tolist()]
    classes = [characters for characters in alphabets if len(characters) >= N_CHARACTERS]
    if not classes:
        raise InputError(f"runs: no alphabet of the test set has {N_CHARACTERS} characters")
    support, query, names = [], [], []
    for i in range(n_runs):
        turn, position = divmod(i // RUNS_PER_ALPHABET, len(classes))
        order = torch.randperm(len(classes), generator=generator(seed, "lake", "alphabets", turn))
        of_alphabet = classes[int(order[position])]
        draw = generator(seed, "lake", "run", i)
        chosen = of_alphabet[torch.randperm(len(of_alphabet), generator=draw)[:N_CHARACTERS]]
        drew_all = (rows[chosen] >= 0).all(0).nonzero().squeeze(1)
        name = alphabet(bank.class_names[int(chosen[0])])
        if len(drew_all) < 2:
            raise InputError(
                f"runs: {len(drew_all)} drawers drew all {N_CHARACTERS} characters that were "
                f"chosen of {name}, two are needed"
            )
        one, other = drew_all[torch.randperm(len(drew_all), generator=draw)[:2]].tolist()
        support.append(rows[chosen, one])
        query.append(rows[chosen, other])
        names.append(f"{name}, drawers {one + 1} and {other + 1}")
    episodes = Episodes(torch.stack(support)[..., None], torch.stack(query)[..., None])
    return LakeRuns(episodes.gather(bank.images), tuple(names), "drawn")


def _rows(bank: ImageBank) -> Tensor:
    """The bank's row of each class by each drawer, int64 ``[n_classes, drawers]``; -1: none."""
    drawers = bank.attributes["drawer"]
    rows = torch.full((bank.n_classes, int(drawers.max()) + 1), -1)
    rows[bank.labels, drawers] = torch.arange(len(bank))
    return rows
