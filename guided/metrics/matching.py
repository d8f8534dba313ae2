"""Recovery of factors up to their order, sign and scale: the mean correlation coefficient."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guided.metrics.factor import correlations
from guided.metrics.factor_arrays import checked, split


def mcc(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    correlation: Literal["spearman", "pearson"] = "spearman",
) -> float:
    """The mean correlation coefficient of factors with the latents that are assigned to them.

    Each factor has one latent of its own: those of the assignment with the largest sum of absolute
    correlations (Hyvärinen & Morioka 2016, arXiv:1605.06336). With rank correlations any
    increasing or decreasing map of a latent is free.

    Differs from the usual definition: the assignment is found on one half of the rows, and the
    correlations are those of the other half, so that a choice among many latents gains nothing.

    A rotation of two factors still has 0.9 on average: show the score of other codes, such as the
    images or a random encoder, beside it.

    Args:
        codes: ``[n, d]``; with fewer latents than factors, the factors left over count as 0.
        factors: ``[n, k]``, numbers whose order means something.
        seed: of the halves.
        correlation: ranks (``spearman``), or values (``pearson``).

    Returns:
        0 … 1.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    from scipy.optimize import linear_sum_assignment

    codes, factors = checked(codes, factors)
    chosen, scored = (
        np.abs(correlations(codes[half], factors[half], ranks=correlation == "spearman"))
        for half in split(len(codes), seed, 0.5)
    )
    latents, matched = linear_sum_assignment(-chosen)
    return float(scored[latents, matched].sum() / factors.shape[1])


def matched_information(codes: NDArray[Any], factors: NDArray[Any], seed: int = 0) -> float:
    """The mean mutual information of continuous factors and the latents assigned to them, nats.

    The assignment is that of :func:`mcc`; the information is the nearest-neighbour estimate of
    Kraskov, Stögbauer & Grassberger (2004), Physical Review E 69, 066138, on the other half of the
    rows, so that any invertible map of a latent is free.

    Args:
        codes: ``[n, d]``, continuous.
        factors: ``[n, k]``, continuous.
        seed: of the halves, and of the noise that breaks ties.

    Returns:
        0 or more; with fewer latents than factors, those left over count as 0.

    Raises:
        InputError: as for :func:`mcc`.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.feature_selection import mutual_info_regression

    codes, factors = checked(codes, factors)
    chosen, scored = split(len(codes), seed, 0.5)
    correlation = np.abs(correlations(codes[chosen], factors[chosen], ranks=True))
    pairs = zip(*linear_sum_assignment(-correlation), strict=True)
    found = [
        mutual_info_regression(codes[scored][:, [i]], factors[scored, j], random_state=seed)[0]
        for i, j in pairs
    ]
    return float(sum(found) / factors.shape[1])
