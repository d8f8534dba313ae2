"""Counts of wrong answers of a whole study: all that its rows' statistics are computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.study.rows import RowKey
from guided.errors import InputError
from guided.storage.files import read_arrays, write_arrays

Wrong = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class EpisodeList:
    """The test episodes of one setting.

    Attributes:
        seed: from which :class:`.EpisodeSampler` draws them.
        classes: labels of each episode's classes, ``[episodes, n_way]``.
    """

    seed: int
    classes: NDArray[np.integer]


@dataclass(frozen=True)
class Counts:
    """Wrong answers of every row, and the episodes that they were given in.

    As a file: ``wrong|ARM|LEARNER|LATENTS|SETTING`` for each row, ``classes|SETTING`` and
    ``seed|SETTING`` for each setting.

    Attributes:
        wrong: key of a row -> number of wrong answers, unsigned integers
            ``[seeds, episodes, ...]``.
        episodes: a setting's label -> its episodes; empty where there are none.
    """

    wrong: Mapping[RowKey, Wrong]
    episodes: Mapping[str, EpisodeList] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a compressed ``.npz``."""
        arrays: dict[str, Any] = {
            "|".join(["wrong", *key]): smallest(counts) for key, counts in self.wrong.items()
        }
        for label, drawn in self.episodes.items():
            arrays[f"classes|{label}"] = smallest(drawn.classes)
            arrays[f"seed|{label}"] = np.uint64(drawn.seed)
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> "Counts":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or holds something else.
        """
        if not path.exists():
            raise InputError(f"{path}: missing; it holds the counts that rows are scored from")
        arrays = {tuple(name.split("|")): array for name, array in read_arrays(path).items()}
        wrong = {key[1:]: counts for key, counts in arrays.items() if key[0] == "wrong"}
        if not wrong:
            raise InputError(f"{path}: holds no counts of wrong answers, expected wrong|ARM|...")
        for key, counts in wrong.items():
            if counts.dtype.kind != "u" or counts.ndim < 2:
                raise InputError(
                    f"{path}: wrong|{'|'.join(key)}: expected unsigned integers "
                    "[seeds, episodes, ...]"
                )
        episodes = {}
        for kind, *label in arrays:
            if kind == "classes":
                if ("seed", *label) not in arrays:
                    name = "|".join(label)
                    raise InputError(f"{path}: has classes|{name} without seed|{name}")
                seed = int(arrays["seed", *label])
                episodes[label[0]] = EpisodeList(seed, arrays["classes", *label])
        return cls(wrong, episodes)


def smallest(counts: NDArray[np.integer]) -> Wrong:
    """The same counts in the smallest unsigned type that holds them."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
