"""Recovery of sources by one method on one seed, and its mean over seeds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewshot.study.rows import RowKey, rounded
from guided.metrics.matching import matched_information, mcc

LEARNED = "contrast"
UNTRAINED = "untrained"
UNMIXED = "contrast, FastICA"
MIXTURES = "mixtures"
LINEAR = "FastICA"
OF_A_NETWORK = (LEARNED, UNMIXED, UNTRAINED)
WITHOUT_ONE = (LINEAR, MIXTURES)
Measure = Literal["mcc", "mcc_squares", "information"]
MEASURES: tuple[Measure, ...] = ("mcc", "mcc_squares", "information")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Scores of one method on the held-out samples of one seed.

    Attributes:
        method: ``contrast``, its network ``untrained``, ``contrast, FastICA``: linear ICA of what
            was learned; ``mixtures``; their linear ICA ``FastICA``.
        samples: training samples of each segment.
        width: of the hidden layers; None for methods without.
        seed: of everything.
        mcc: rank correlation with the sources, 0 … 1.
        mcc_squares: with their squares.
        information: mutual information with the sources, nats.
    """

    method: str
    samples: int
    width: int | None
    seed: int
    mcc: float
    mcc_squares: float
    information: float

    @classmethod
    def of(
        cls,
        codes: NDArray[Any],
        sources: NDArray[Any],
        *,
        method: str,
        samples: int,
        width: int | None,
        seed: int,
    ) -> "Recovery":
        """The scores of codes ``[N, d]`` for sources ``[N, n]``."""
        return cls(
            method=method,
            samples=samples,
            width=width,
            seed=seed,
            mcc=rounded(mcc(codes, sources)),
            mcc_squares=rounded(mcc(codes, sources**2)),
            information=rounded(matched_information(codes[:4000], sources[:4000])),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    @property
    def values(self) -> dict[RowKey, float]:
        """Each measure by the key of its row."""
        keys = row_keys(self.method, self.samples, self.width)
        return {key: getattr(self, measure) for measure, key in keys.items()}


def row_keys(method: str, samples: int, width: int | None) -> dict[Measure, RowKey]:
    """Measure -> the key of the row that has it for all seeds of a condition."""
    condition = (method, f"{samples} samples", *([f"width {width}"] if width else []))
    return {measure: (*condition, measure) for measure in MEASURES}


@dataclass(frozen=True)
class Recoveries:
    """All scores of a study.

    Args:
        scores: one a method, number of samples, width and seed.
    """

    scores: Sequence[Recovery]

    def seeds_of(
        self, method: str, width: int | None, samples: int, measure: Measure = "mcc"
    ) -> Floats:
        """A measure of one condition, ``[seeds]``, in the order of the seeds."""
        found = {
            score.seed: getattr(score, measure)
            for score in self.scores
            if (score.method, score.width, score.samples) == (method, width, samples)
        }
        return np.array([found[seed] for seed in sorted(found)])

    @property
    def samples(self) -> list[int]:
        """Numbers of samples, in order."""
        return sorted({score.samples for score in self.scores})

    @property
    def widths(self) -> list[int]:
        """Widths, in order."""
        return sorted({score.width for score in self.scores if score.width is not None})
