"""Disentanglement by mutual information: the gap of MIG, and modularity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor_arrays import (
    Discrete,
    as_categories,
    checked,
    entropy,
    equal_width_bins,
    gap,
    mutual_information,
)


def mig(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    code_bins: int = 20,
    factor_bins: int = 10,
) -> float:
    """The mutual information gap: how far a factor's best latent is ahead of the second.

    Source: Chen et al. (2018), arXiv:1802.04942, eq. 6: ``mean_k (I₁ - I₂) / H(v_k)``.

    Differs from the paper: the information is that of one code an image, such as the posterior's
    mean, in bins of equal width, as in disentanglement_lib (Locatello et al. 2019,
    arXiv:1811.12359), and not of draws from the posterior. Independent noise has some: see
    :func:`guided.metrics.factor_arrays.mutual_information`.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``; continuous ones are divided at their quantiles.
        seed: changes nothing, since nothing is drawn; taken so that all metrics are called alike.
        discrete: which factors are categories; those of whole numbers if not given.
        code_bins: bins of equal width for each latent.
        factor_bins: bins of equally many rows for each continuous factor.

    Returns:
        0 … 1; 1: each factor is told wholly by one latent, and not at all by another.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    codes, factors = checked(codes, factors)
    categories = as_categories(factors, discrete, factor_bins)
    information = mutual_information(equal_width_bins(codes, code_bins), categories)
    return float((gap(information) / entropy(categories)).mean())


def modularity(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    code_bins: int = 20,
    factor_bins: int = 10,
) -> float:
    """The extent to which each latent depends on a single factor, whatever their number.

    Source: Ridgeway & Mozer (2018), arXiv:1802.05312: the mean over latents of
    ``1 - Σ_{k≠best} I_k² / (I_best² (K - 1))``; a latent without information counts as 0.

    Args:
        codes, factors, seed, discrete, code_bins, factor_bins: as for :func:`mig`.

    Returns:
        0 … 1.

    Raises:
        InputError: as for :func:`mig`, or there is only one factor.
    """
    codes, factors = checked(codes, factors)
    if factors.shape[1] < 2:
        raise InputError("modularity: expected at least two factors, got one")
    categories = as_categories(factors, discrete, factor_bins)
    squares = mutual_information(equal_width_bins(codes, code_bins), categories) ** 2
    best = squares.max(1)
    others = (squares.sum(1) - best) / (factors.shape[1] - 1)
    alive = best > 1e-20  # of the square; a constant latent has a rounding error
    return float((alive * (1 - others / np.where(alive, best, 1))).mean())
