"""Restricting the training labels to those of a share of the classes."""

import math

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.seeds import generator
from guided.training.data import LabelledImages, numbered


def labelled_classes(bank: ImageBank, share: float, seed: int) -> Tensor:
    """Draw the classes whose labels may be used. A larger share includes a smaller one's classes.

    Args:
        bank: the training classes.
        share: fraction of the classes, in (0, 1]; rounded up to whole classes.
        seed: of the draw.

    Returns:
        int64, ascending indices of classes.
    """
    if share == 1:
        return torch.arange(bank.n_classes)
    order = torch.randperm(bank.n_classes, generator=generator(seed, "labelled classes"))
    # 0.07 of 100 classes are 7, though the product of the floats is a little more.
    n_shown = max(1, math.ceil(share * bank.n_classes - 1e-9))
    return order[:n_shown].sort().values


def labelled(bank: ImageBank, share: float = 1.0, seed: int = 0) -> LabelledImages:
    """All images, with the labels and attributes of a share of the classes.

    Args:
        bank: the training classes.
        share: fraction of the classes, in (0, 1].
        seed: of :func:`labelled_classes`.

    Returns:
        images and targets. Targets of the other classes are -1, or NaN if they are quantities.
        Known values of the others are renumbered 0 … without gaps, so that guidance has no
        categories without images.
    """
    shown = torch.isin(bank.labels, labelled_classes(bank, share, seed))
    return LabelledImages(bank.images, {k: _masked(v, shown) for k, v in bank.targets().items()})


def _masked(values: Tensor, shown: Tensor) -> Tensor:
    """The values that are shown; the others are unknown."""
    if values.is_floating_point():
        return values.where(shown, math.nan)
    return numbered(values.where(shown, -1))
