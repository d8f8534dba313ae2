"""Codes and ground-truth factors as the disentanglement metrics take them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Discrete = bool | Sequence[bool] | None
"""Which factors are categories: all, none, or a flag for each. ``None``: those whose values are
all whole numbers."""


def checked(codes: NDArray[Any], factors: NDArray[Any]) -> tuple[Floats, Floats]:
    """Codes ``[n, d]`` and factors ``[n, k]`` in double precision.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or a constant factor, which
            nothing can follow.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or len(codes) < 2:
        raise InputError(
            "metrics: expected codes [n, d] and factors [n, k] of the same n >= 2 rows, "
            f"got {list(codes.shape)} and {list(factors.shape)}"
        )
    for name, values in (("codes", codes), ("factors", factors)):
        if not values.shape[1] or not np.isfinite(values).all():
            raise InputError(f"{name}: expected finite numbers in at least one column")
    for column in np.flatnonzero(np.ptp(factors, axis=0) == 0):
        raise InputError(f"factors: column {column} is constant; leave it out")
    return codes, factors


def discrete_columns(factors: Floats, discrete: Discrete = None) -> NDArray[np.bool_]:
    """True for each factor that is a category, ``[k]``.

    Raises:
        InputError: the number of flags is not that of factors.
    """
    if discrete is None:
        return (factors == np.round(factors)).all(0)
    flags = np.asarray(discrete, bool)
    if flags.ndim and flags.shape != (factors.shape[1],):
        raise InputError(f"discrete: {len(flags)} flags for {factors.shape[1]} factors")
    return np.broadcast_to(flags, factors.shape[1])


def as_categories(factors: Floats, discrete: Discrete = None, n_bins: int = 10) -> Integers:
    """Each factor's values as numbers 0, 1, … without gaps, in their order; ``[n, k]``.

    Args:
        factors: ``[n, k]``.
        discrete: see :data:`Discrete`.
        n_bins: a continuous factor of more values is divided at the quantiles, into bins of
            equally many rows.
    """
    categories = np.empty(factors.shape, np.int64)
    for k, keep in enumerate(discrete_columns(factors, discrete)):
        values, numbers = np.unique(factors[:, k], return_inverse=True)
        if not keep and len(values) > n_bins:
            edges = np.quantile(factors[:, k], np.arange(1, n_bins) / n_bins)
            bins = np.searchsorted(edges, factors[:, k], side="right")
            if bins.min() == bins.max():  # nearly all rows have the lowest value: it is a bin
                bins = np.searchsorted(edges, factors[:, k], side="left")
            numbers = np.unique(bins, return_inverse=True)[1]
        categories[:, k] = numbers
    return categories


def equal_width_bins(codes: Floats, n_bins: int) -> Integers:
    """The bin, 0 … n_bins - 1, of each code between its latent's least and largest; ``[n, d]``."""
    low, width = codes.min(0), np.ptp(codes, axis=0)
    scaled = (codes - low) / np.where(width > 0, width, 1) * n_bins
    return np.minimum(scaled.astype(np.int64), n_bins - 1)


def mutual_information(bins: Integers, categories: Integers) -> Floats:
    """The mutual information of each latent with each factor, nats, ``[d, k]``.

    That of the empirical distribution: independent ones of B and V values have about
    (B - 1) (V - 1) / (2 n) (Miller 1955).

    Args:
        bins: of the codes, ``[n, d]``, from 0.
        categories: of the factors, ``[n, k]``, from 0.
    """
    n, d = bins.shape
    n_bins, n_values = int(bins.max()) + 1, int(categories.max()) + 1
    # A table of counts for each pair, all latents of a factor at once.
    places = (np.arange(d) * n_bins + bins) * n_values
    shape = (d, n_bins, n_values)
    information = np.empty((d, categories.shape[1]))
    for k, numbers in enumerate(categories.T):
        counts = np.bincount((places + numbers[:, None]).ravel(), minlength=int(np.prod(shape)))
        joint = counts.reshape(shape) / n
        of_both = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
        ratio = np.divide(joint, of_both, out=np.ones(shape), where=joint > 0)
        information[:, k] = (joint * np.log(ratio)).sum((1, 2))
    return np.maximum(information, 0)  # a rounding error may be negative


def entropy(categories: Integers) -> Floats:
    """The entropy of each column, nats, ``[k]``."""
    shares = [np.bincount(numbers) / len(categories) for numbers in categories.T]
    return np.array([-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares])


def split(n: int, seed: int, test_share: float = 1 / 3) -> tuple[Integers, Integers]:
    """Rows to fit and rows to test, drawn at random."""
    order = np.random.default_rng(seed).permutation(n)
    n_test = max(1, round(n * test_share))
    return order[n_test:], order[:n_test]


def gap(scores: Floats) -> Floats:
    """The best latent's score less the second's, for each factor; scores ``[d, k]``, none < 0.

    A single latent's gap is its score.
    """
    best = np.sort(np.vstack([scores, np.zeros(scores.shape[1])]), axis=0)
    return best[-1] - best[-2]
