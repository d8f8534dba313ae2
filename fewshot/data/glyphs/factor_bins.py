"""Ground-truth factors, binned, as attributes."""

from dataclasses import replace

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits


def with_binned_factors(splits: Splits, n_bins: int) -> Splits:
    """Add to each bank an attribute for each factor, of the same name: the bin of its value.

    Guidance reads categories. The common name lets a diagnosis compare the latents that were
    guided by the bins with the factor itself.

    Args:
        splits: three banks with factors.
        n_bins: at least 2. In all three splits, bins are divided at the quantiles of the training
            images, so that each holds equally many of them, as far as their factors differ.

    Returns:
        banks that share the images of the given ones; bins are int64 ``[N]``, 0 … n_bins - 1, in
        ascending order of the factor.
    """
    shares = torch.arange(1, n_bins, dtype=torch.float64) / n_bins
    edges = {
        name: torch.quantile(factor.double(), shares)
        for name, factor in splits.train.factors.items()
    }
    return Splits(
        *(_binned(bank, edges) for bank in (splits.train, splits.validation, splits.test))
    )


def _binned(bank: ImageBank, edges: dict[str, Tensor]) -> ImageBank:
    bins = {
        name: torch.bucketize(bank.factors[name].double(), edge) for name, edge in edges.items()
    }
    return replace(bank, attributes={**bank.attributes, **bins})
