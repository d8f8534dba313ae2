"""Omniglot's splits, computed from the names of the characters alone.

Names are ``Alphabet/characterNN``; positions are indices into the list of names, which holds the
background alphabets first, then the evaluation alphabets, each part sorted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from guided.errors import InputError
from guided.seeds import generator

# Lake, Salakhutdinov & Tenenbaum (2015), Science 350: the alphabets of images_evaluation.zip.
EVALUATION = frozenset(
    [
        *("Angelic", "Atemayar_Qelisayer", "Atlantean", "Aurek-Besh", "Avesta", "Ge_ez"),
        *("Glagolitic", "Gurmukhi", "Kannada", "Keble", "Malayalam", "Manipuri", "Mongolian"),
        *("Old_Church_Slavonic_(Cyrillic)", "Oriya", "Sylheti", "Syriac_(Serto)", "Tengwar"),
        *("Tibetan", "ULOG"),
    ]
)

# Vinyals et al. (2016), as distributed with Snell et al. (2017), jakesnell/prototypical-networks,
# data/omniglot/splits/vinyals: validation is five background alphabets; test is the evaluation
# part, sorted by name, from the middle of Gurmukhi on.
VINYALS_VALIDATION = frozenset(
    ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
)
VINYALS_FIRST_TEST = "Gurmukhi/character42"

RANDOM_TRAIN, RANDOM_VALIDATION = 1100, 100


@dataclass(frozen=True)
class Positions:
    """Ascending positions of the characters of each split; each character is in one split."""

    train: list[int]
    validation: list[int]
    test: list[int]


def alphabet(name: str) -> str:
    """The alphabet of a character: ``Greek`` for ``Greek/character01``."""
    return name.split("/")[0]


def lake(names: Sequence[str], n_validation: int, seed: int) -> Positions:
    """Background characters for training, 964, and evaluation characters for testing, 659.

    Source: Lake, Salakhutdinov & Tenenbaum (2015), who define no validation split: here it is
    ``n_validation`` background alphabets, drawn with the seed.
    """
    background = sorted({alphabet(name) for name in names} - EVALUATION)
    if n_validation >= len(background):
        raise InputError(
            f"validation_alphabets: expected fewer than the {len(background)} background "
            f"alphabets, got {n_validation}"
        )
    order = torch.randperm(
        len(background), generator=generator(seed, "omniglot", "validation alphabets")
    )
    held_out = {background[i] for i in order[:n_validation].tolist()}
    return _divide(
        names,
        test={i for i, name in enumerate(names) if alphabet(name) in EVALUATION},
        validation={i for i, name in enumerate(names) if alphabet(name) in held_out},
    )


def vinyals(names: Sequence[str]) -> Positions:
    """The split into 1028/172/423 characters, by alphabet.

    Source: Vinyals et al. (2016), arXiv:1606.04080, in the lists of Snell et al. (2017),
    arXiv:1703.05175.
    """
    return _divide(
        names,
        test={
            i
            for i, name in enumerate(names)
            if alphabet(name) in EVALUATION and name >= VINYALS_FIRST_TEST
        },
        validation={i for i, name in enumerate(names) if alphabet(name) in VINYALS_VALIDATION},
    )


def shuffled(names: Sequence[str], seed: int) -> Positions:
    """A random split into 1100/100/423 characters.

    Source: Finn et al. (2017), arXiv:1703.03400, §5.2: 1200 characters for training, the others
    for testing. Each seed gives a different split, so it must be stated with a result.
    """
    order = torch.randperm(len(names), generator=generator(seed, "omniglot", "shuffled"))
    known = RANDOM_TRAIN + RANDOM_VALIDATION
    return _divide(
        names,
        test=set(order[known:].tolist()),
        validation=set(order[RANDOM_TRAIN:known].tolist()),
    )


def _divide(names: Sequence[str], test: set[int], validation: set[int]) -> Positions:
    train = set(range(len(names))) - test - validation
    return Positions(sorted(train), sorted(validation), sorted(test))
