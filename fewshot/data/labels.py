"""Which training labels may be used: all of them, or those of a share of the classes."""

import math

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.seeds import generator
from guided.training.data import LabelledImages


def labelled_classes(bank: ImageBank, share: float, seed: int) -> Tensor:
    """The classes whose labels are known, int64, ascending.

    A smaller share's classes are among a larger one's.

    Args:
        bank: of training classes.
        share: of its classes, in (0, 1]; rounded up to whole classes.
        seed: of the choice.
    """
    if share == 1:
        return torch.arange(bank.n_classes)
    order = torch.randperm(bank.n_classes, generator=generator(seed, "labelled classes"))
    return order[: math.ceil(share * bank.n_classes)].sort().values


def labelled(bank: ImageBank, share: float = 1.0, seed: int = 0) -> LabelledImages:
    """All images, with the labels and attributes of a share of the classes; the others' are -1.

    Each attribute's values are numbered 0 … without gaps: an alphabet that was held out is no
    category to learn.

    Args:
        bank: of training classes.
        share: of them, in (0, 1].
        seed: of :func:`labelled_classes`.
    """
    shown = torch.isin(bank.labels, labelled_classes(bank, share, seed))
    return LabelledImages(
        bank.images, {k: _masked(v, shown & (v >= 0)) for k, v in bank.targets().items()}
    )


def _masked(values: Tensor, known: Tensor) -> Tensor:
    """The known values, numbered 0 … without gaps; -1 elsewhere."""
    masked = torch.full_like(values, -1)
    masked[known] = values[known].unique(return_inverse=True)[1]
    return masked
