"""Disentanglement by batches in which one factor is fixed: the scores of β-VAE and FactorVAE."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError
from guided.metrics.factor_arrays import Discrete, Floats, Integers, as_categories, checked
from guided.metrics.probe import linear_probe_wrong

BATCH = 64


class FixedFactorSampler(Protocol):
    """Draws codes of batches of images that share the value of one factor."""

    def __call__(
        self, factor: int | None, batches: int, size: int, rng: np.random.Generator
    ) -> NDArray[np.floating]:
        """Codes ``[batches, size, d]``.

        Args:
            factor: number of the factor whose value is drawn once for each batch; the others are
                drawn for each image. ``None``: all are.
            batches: how many.
            size: images in a batch.
            rng: of every draw.
        """
        ...


def rows_with_fixed_factor(
    codes: NDArray[Any],
    factors: NDArray[Any],
    *,
    discrete: Discrete = None,
    factor_bins: int = 10,
) -> FixedFactorSampler:
    """A sampler that picks, with replacement, rows of the same value of a factor.

    The other factors vary as they do among these rows. Where images can be made, a sampler that
    makes them is better: it fixes a continuous factor wholly, and this one to a bin.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``; continuous ones are divided at their quantiles.
        discrete: which factors are categories; those of whole numbers if not given.
        factor_bins: bins of equally many rows for each continuous factor.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    codes, factors = checked(codes, factors)
    categories = as_categories(factors, discrete, factor_bins)
    order = np.argsort(categories, axis=0, kind="stable")
    counts = [np.bincount(numbers) for numbers in categories.T]

    def sample(
        factor: int | None, batches: int, size: int, rng: np.random.Generator
    ) -> NDArray[np.floating]:
        if factor is None:
            return codes[rng.integers(len(codes), size=(batches, size))]
        value = categories[rng.integers(len(codes), size=batches), factor]
        count = counts[factor]
        start = (np.cumsum(count) - count)[value]
        among = rng.integers(count[value][:, None], size=(batches, size))
        return codes[order[start[:, None] + among, factor]]

    return sample


def made_with_fixed_factor(
    n_values: Sequence[int], codes_of: Callable[[Integers], NDArray[Any]]
) -> FixedFactorSampler:
    """A sampler for images that can be made: factors are independent, and their values equally
    likely.

    Args:
        n_values: number of values of each factor, ``[k]``.
        codes_of: codes ``[n, d]`` of the images with values number ``[n, k]``, from 0.
    """

    def sample(
        factor: int | None, batches: int, size: int, rng: np.random.Generator
    ) -> NDArray[np.floating]:
        numbers = rng.integers(n_values, size=(batches, size, len(n_values)))
        if factor is not None:
            numbers[..., factor] = numbers[:, :1, factor]
        return codes_of(numbers.reshape(batches * size, -1)).reshape(batches, size, -1)

    return sample


def beta_vae_score(
    sampler: FixedFactorSampler, n_factors: int, seed: int = 0, *, points: int = 3000
) -> float:
    """The accuracy of telling which factor two images share, from the differences of their codes.

    Source: Higgins et al. (2017), "β-VAE" (ICLR), §3: a point is the mean of ``|z - z'|`` over 64
    pairs that share one factor; a linear classifier names the factor. Codes that leave out one
    factor reach 1 too (Kim & Mnih 2018, arXiv:1802.05983, §4).

    Differs from the paper: multinomial logistic regression, of standardised differences.

    Args:
        sampler: codes of pairs; :func:`rows_with_fixed_factor` makes one from arrays.
        n_factors: at least 2.
        seed: of the draws.
        points: two thirds to fit and one to test.

    Returns:
        0 … 1; chance is 1 / n_factors.

    Raises:
        InputError: fewer than two factors.
    """
    rng, factor = _drawn_factors(n_factors, seed, points)
    differences: list[Floats] = []
    for k in range(n_factors):
        n = int((factor == k).sum())
        pairs = sampler(k, n * BATCH, 2, rng)
        apart = np.abs(pairs[:, 0] - pairs[:, 1])
        differences.append(apart.reshape(n, BATCH, apart.shape[1]).mean(1))
    features = _in_order(differences, factor)
    train = slice(0, points * 2 // 3)
    test = slice(train.stop, None)
    wrong = linear_probe_wrong((features[train], factor[train]), (features[test], factor[test]))
    return float(1 - wrong.mean())


def factor_vae_score(
    sampler: FixedFactorSampler,
    n_factors: int,
    seed: int = 0,
    *,
    votes: int = 3000,
    size: int = BATCH,
    overall: int = 10_000,
    dead: float = 0.05,
) -> float:
    """The accuracy of telling the fixed factor from the latent that varies least.

    Source: Kim & Mnih (2018), arXiv:1802.05983, §4: of 64 images that share one factor, the latent
    whose variance, divided by that over all images, is least casts a vote; a majority names each
    latent's factor.

    Differs from the paper: the majority is taken of two thirds of the votes and the accuracy of
    the others, as in disentanglement_lib (arXiv:1811.12359). A latent is dead by the spread of
    codes, as there, and not by its KL.

    Args:
        sampler: codes of batches; :func:`rows_with_fixed_factor` makes one from arrays.
        n_factors: at least 2.
        seed: of the draws.
        votes: two thirds for the majority and one to test.
        size: images of a vote.
        overall: images for the variance over all.
        dead: a latent whose standard deviation is at most this does not take part.

    Returns:
        0 … 1; chance is 1 / n_factors, 0 if all latents are dead.

    Raises:
        InputError: fewer than two factors.
    """
    rng, factor = _drawn_factors(n_factors, seed, votes)
    variance = sampler(None, 1, overall, rng)[0].var(0)
    alive = variance > dead**2
    if not alive.any():
        return 0.0
    least: list[NDArray[np.int64]] = []
    for k in range(n_factors):
        drawn = sampler(k, int((factor == k).sum()), size, rng)[..., alive]
        least.append((drawn.var(1) / variance[alive]).argmin(1))
    latent = _in_order(least, factor)
    n = votes * 2 // 3
    table = np.zeros((int(alive.sum()), n_factors), np.int64)
    np.add.at(table, (latent[:n], factor[:n]), 1)
    return float((table.argmax(1)[latent[n:]] == factor[n:]).mean())


def _drawn_factors(
    n_factors: int, seed: int, n: int
) -> tuple[np.random.Generator, NDArray[np.int64]]:
    """The generator, and the number of the fixed factor of each of n points."""
    if n_factors < 2:
        raise InputError(f"n_factors: expected at least two to tell apart, got {n_factors}")
    rng = np.random.default_rng(seed)
    return rng, rng.integers(n_factors, size=n)


def _in_order(parts: list[NDArray[Any]], factor: NDArray[np.int64]) -> NDArray[Any]:
    """The results of each factor's points, in the order in which the factors were drawn."""
    together = np.concatenate(parts)
    placed = np.empty_like(together)
    placed[np.argsort(factor, kind="stable")] = together
    return placed
