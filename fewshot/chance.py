"""Errors beside those of guessing."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fewshot.statistics import Interval

ROUNDED = 1e-3
"""Percentage points by which a rounded error may differ."""

Chance = Literal["constant", "chance"]


def beside_chance(
    n_way: int, interval: Interval, errors: NDArray[np.floating] | None = None
) -> Chance | None:
    """``constant`` for errors of one answer to all queries; ``chance`` for errors that are no lower
    than those of guessing; else None.

    Args:
        n_way: classes of an episode.
        interval: of the mean error, in percent.
        errors: of each episode, in percent; None where they are not known.
    """
    chance = 100 * (1 - 1 / n_way)
    if errors is not None and abs(errors - chance).max() < ROUNDED:
        return "constant"
    return "chance" if interval[1] >= chance - ROUNDED else None


CONSTANT = (
    "every episode has exactly the error of chance, as when all queries get the same answer: "
    "embeddings, or images, may be all alike"
)
