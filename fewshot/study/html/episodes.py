"""Test episodes as the page shows them: all arms' answers beside the same images."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.study.examples import FILE
from fewshot.study.html.content import Content
from guided.html.images import of_image
from guided.storage.files import read_arrays, read_json

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Class:
    """A class of an episode: its letter and name, its support and its queries, as data URIs."""

    letter: str
    name: str
    support: tuple[str, ...]
    queries: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """An arm's answers.

    Attributes:
        arm: its name.
        wrong: wrong queries of the whole episode.
        answers: for each query shown, the letter that it was taken for, and True if rightly; the
            first of each class begins a group.
    """

    arm: str
    wrong: int
    answers: tuple[tuple[str, bool, bool], ...]


@dataclass(frozen=True)
class Episode:
    """One test episode."""

    number: int
    reason: str
    queries: int
    classes: tuple[Class, ...]
    arms: tuple[Answered, ...]


@dataclass(frozen=True)
class Pair:
    """Two classes that are confused: names, images, and each arm's count."""

    true: str
    predicted: str
    true_images: tuple[str, ...]
    predicted_images: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Examples:
    """Content of the section.

    Attributes:
        subject: seed and setting, in words.
        episodes: those worth looking at.
        arms: in the order of the pairs' counts.
        counted: episodes whose confusions are counted.
        pairs: classes that are confused most.
        of: name of what answers.
    """

    subject: str
    episodes: tuple[Episode, ...]
    arms: tuple[str, ...]
    counted: int
    pairs: tuple[Pair, ...]
    of: str = "arm"


def examples(content: Content) -> Examples | None:
    """The examples of a study; None where its cells are not at hand."""
    folder = content.index.examples if content.index else None
    if folder is None or not (folder / FILE).exists():
        return None
    facts: dict[str, Any] = read_json(folder / "cell.json")
    names = [entry["arm"] for entry in facts["arms"]]
    order = sorted(range(len(names)), key=lambda i: content.arms.index(names[i]))
    learners = dict.fromkeys(facts["arms"][i]["learner"] for i in order)
    seed = facts["arms"][order[0]]["seed"]
    return shown_examples(
        folder / FILE,
        facts,
        [(names[i], i) for i in order],
        f"{', '.join(learners)}, seed {seed}, each arm's first latents",
    )


def shown_examples(
    file: Path,
    facts: Mapping[str, Any],
    arms: Sequence[tuple[str, int]],
    subject: str,
    of: str = "arm",
) -> Examples:
    """The examples of a file.

    Args:
        file: of the arrays.
        facts: of the episodes and classes.
        arms: names in the order of the page, and the place of each in the arrays.
        subject: words that follow the setting.
        of: name of what answers.
    """
    arrays = read_arrays(file)
    pictures = {
        name: tuple(map(of_image, images))
        for name, images in zip(facts["classes"], arrays["pictured"], strict=True)
    }
    shape = facts["setting"]
    return Examples(
        f"{shape['n_way']}-way {shape['n_shot']}-shot, {subject}",
        tuple(_episode(i, entry, arrays, arms) for i, entry in enumerate(facts["episodes"])),
        tuple(name for name, _ in arms),
        facts["counted"],
        tuple(
            Pair(
                pair["true"],
                pair["predicted"],
                pictures[pair["true"]],
                pictures[pair["predicted"]],
                tuple(pair["counts"][facts["arms"][place]["arm"]] for _, place in arms),
            )
            for pair in facts["confused"]
        ),
        of,
    )


def letter(position: int) -> str:
    """A class's letter; two from the 27th."""
    more, place = divmod(position, 26)
    return (string.ascii_uppercase[more - 1] if more else "") + string.ascii_uppercase[place]


def _episode(
    i: int, entry: dict[str, Any], arrays: dict[str, Any], arms: Sequence[tuple[str, int]]
) -> Episode:
    support, query = arrays["support"][i], arrays["query"][i]
    return Episode(
        entry["number"],
        entry["reason"],
        entry["queries"],
        tuple(
            Class(letter(way), name, *(tuple(map(of_image, s[way])) for s in (support, query)))
            for way, name in enumerate(entry["classes"])
        ),
        tuple(
            Answered(
                arm,
                entry["wrong"][j],
                tuple(
                    (letter(int(taken)), int(taken) == way, place == 0)
                    for way, row in enumerate(arrays["predicted"][j, i])
                    for place, taken in enumerate(row)
                ),
            )
            for arm, j in arms
        ),
    )
