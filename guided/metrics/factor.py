"""Correlation of latents with ground-truth factors."""

import numpy as np
from numpy.typing import NDArray


def rank_correlation(
    latents: NDArray[np.floating], factor: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Spearman's correlation of each latent with a factor.

    Args:
        latents: ``[N, d]``.
        factor: ``[N]``.

    Returns:
        ``[d]``, in [-1, 1]; 0 for a latent, or a factor, that is constant.
    """
    return correlations(latents, factor[:, None], ranks=True)[:, 0]


def correlations(
    latents: NDArray[np.floating], factors: NDArray[np.floating], *, ranks: bool = False
) -> NDArray[np.float64]:
    """The correlation of each latent with each factor.

    Args:
        latents: ``[N, d]``.
        factors: ``[N, k]``.
        ranks: Spearman's correlation; else Pearson's.

    Returns:
        ``[d, k]``, in [-1, 1]; 0 for a latent, or a factor, that is constant.
    """
    from scipy.stats import rankdata

    both = np.column_stack([latents, factors]).astype(np.float64)
    constant = np.ptp(both, axis=0) == 0
    if ranks:
        both = rankdata(both, axis=0)
    both -= both.mean(0)
    both /= np.where(constant, np.inf, np.linalg.norm(both, axis=0))
    d = latents.shape[1]
    return both[:, :d].T @ both[:, d:]
