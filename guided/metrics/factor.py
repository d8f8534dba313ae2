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
    from scipy.stats import rankdata

    ranks = rankdata(np.column_stack([latents, factor]), axis=0)
    ranks -= ranks.mean(0)
    norms = np.linalg.norm(ranks, axis=0)
    scale = norms[:-1] * norms[-1]
    products = ranks[:, :-1].T @ ranks[:, -1]
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
