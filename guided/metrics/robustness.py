"""Interventional robustness: how much other factors move a latent that follows one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.metrics.factor_arrays import Discrete, as_categories, checked


def irs(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    factor_bins: int = 10,
    quantile: float = 0.99,
) -> float:
    """The interventional robustness score.

    Source: Suter et al. (2019), arXiv:1811.00007. For each latent and factor: 1 - the mean,
    over the factor's values, of the largest deviation of codes from their mean at that value, in
    units of the largest deviation from the mean of all. A latent counts with its best factor, and
    in proportion to its largest deviation. As in disentanglement_lib (arXiv:1811.12359), a
    quantile stands for the largest deviation at a value.

    Chance is not 0: the quantile of independent noise is below its largest deviation.

    Args:
        codes: ``[n, d]``; the score depends on the latents' scales.
        factors: ``[n, k]``; continuous ones are divided at their quantiles.
        seed: changes nothing, since nothing is drawn; taken so that all metrics are called alike.
        discrete: which factors are categories; those of whole numbers if not given.
        factor_bins: bins of equally many rows for each continuous factor.
        quantile: of the deviations at a value.

    Returns:
        0 … 1; 0 if all latents are constant.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    codes, factors = checked(codes, factors)
    largest = np.abs(codes - codes.mean(0)).max(0) * (np.ptp(codes, axis=0) > 0)
    if not largest.any():
        return 0.0
    moved = np.empty((factors.shape[1], codes.shape[1]))
    for k, numbers in enumerate(as_categories(factors, discrete, factor_bins).T):
        groups = (codes[numbers == value] for value in range(numbers.max() + 1))
        deviations = [
            np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups
        ]
        moved[k] = np.mean(deviations, axis=0)
    robust = 1 - moved.min(0) / np.where(largest > 0, largest, 1)
    return float(np.average(robust, weights=largest))
