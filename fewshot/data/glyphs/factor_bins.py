"""Ground-truth factors as attributes: what was drawn more to the right, and what to the left."""

from dataclasses import replace

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits


def with_binned_factors(splits: Splits, n_bins: int) -> Splits:
    """The splits with each factor once more, as an attribute of the same name: its bin.

    Guidance reads categories; an attribute with a factor's name is what lets a diagnosis compare
    the latents that were guided by the bins with the factor itself.

    Args:
        splits: of images with factors.
        n_bins: 2 or more. The training images' quantiles part them, in all three splits; training
            images are equally many in each bin, as far as their factors differ.

    Returns:
        banks whose images are the given ones'; bins are int64 ``[N]``, 0 … n_bins - 1, in the
        order of the factor.
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
