"""All scores of codes against factors at once."""

from typing import Any

from numpy.typing import NDArray

from guided.metrics.factor_arrays import Discrete
from guided.metrics.fixed_factor import (
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


def disentanglement_scores(
    codes: NDArray[Any], factors: NDArray[Any], seed: int = 0, *, discrete: Discrete = None
) -> dict[str, float]:
    """Every score of this package that takes codes and factors, each with its default settings.

    The scores of β-VAE and FactorVAE are those of rows that share a factor's value.

    Show those of the factors themselves, and of an untrained encoder, beside them: few scores are
    0 for codes that tell nothing, and not all are 1 for perfect ones.

    Args:
        codes: ``[n, d]``.
        factors: ``[n, k]``, at least two.
        seed: of all that is drawn.
        discrete: which factors are categories; those of whole numbers if not given.

    Returns:
        name of a score -> its value.

    Raises:
        InputError: the arrays do not fit, are not finite, or a factor is constant.
    """
    direct = (mig, sap, modularity, explicitness, irs)
    scores = {metric.__name__: metric(codes, factors, seed, discrete=discrete) for metric in direct}
    scores["mcc"] = mcc(codes, factors, seed)
    trees = dci(codes, factors, seed, discrete=discrete)
    for part in ("disentanglement", "completeness", "informativeness"):
        scores[part] = getattr(trees, part)
    sampler = rows_with_fixed_factor(codes, factors, discrete=discrete)
    scores["beta_vae"] = beta_vae_score(sampler, factors.shape[1], seed)
    scores["factor_vae"] = factor_vae_score(sampler, factors.shape[1], seed)
    return scores
