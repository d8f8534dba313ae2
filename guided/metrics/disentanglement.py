"""All scores of codes against factors at once."""

from collections.abc import Collection
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from guided.metrics.factor_arrays import Discrete
from guided.metrics.fixed_factor import (
    FixedFactorSampler,
    beta_vae_score,
    factor_vae_score,
    rows_with_fixed_factor,
)
from guided.metrics.importances import dci
from guided.metrics.information import mig, modularity
from guided.metrics.matching import mcc
from guided.metrics.readout import explicitness
from guided.metrics.robustness import irs
from guided.metrics.single_latents import sap

Score = Literal[
    "mig", "sap", "modularity", "explicitness", "irs", "mcc", "dci", "beta_vae", "factor_vae"
]
SCORES: tuple[Score, ...] = get_args(Score)


def disentanglement_scores(
    codes: NDArray[Any],
    factors: NDArray[Any],
    seed: int = 0,
    *,
    discrete: Discrete = None,
    only: Collection[Score] = SCORES,
    sampler: FixedFactorSampler | None = None,
    points: int = 3000,
) -> dict[str, float]:
    """The scores of this package that take codes and factors, each with its default settings.

    Show those of the factors themselves, and of an untrained encoder, beside them: few scores are
    0 for codes that tell nothing, and not all are 1 for perfect ones.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``, at least two.
        seed: of all that is drawn.
        discrete: which factors are categories; those of whole numbers if not given.
        only: which scores; ``dci`` is three.
        sampler: codes of batches that share one factor, for the scores of β-VAE and FactorVAE; rows
            that share its value if not given.
        points: of the score of β-VAE, and votes of FactorVAE's.

    Returns:
        name of a score -> its value, in the order of :data:`SCORES`.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    scores: dict[str, float] = {}
    for metric in (mig, sap, modularity, explicitness, irs):
        if metric.__name__ in only:
            scores[metric.__name__] = metric(codes, factors, seed, discrete=discrete)
    if "mcc" in only:
        scores["mcc"] = mcc(codes, factors, seed)
    if "dci" in only:
        trees = dci(codes, factors, seed, discrete=discrete)
        for part in ("disentanglement", "completeness", "informativeness"):
            scores[part] = getattr(trees, part)
    sampler = sampler or rows_with_fixed_factor(codes, factors, discrete=discrete)
    n_factors = factors.shape[1]
    if "beta_vae" in only:
        scores["beta_vae"] = beta_vae_score(sampler, n_factors, seed, points=points)
    if "factor_vae" in only:
        scores["factor_vae"] = factor_vae_score(sampler, n_factors, seed, votes=points)
    return scores
