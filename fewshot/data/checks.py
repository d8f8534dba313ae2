"""Reasons to doubt errors, found in the images that they are measured on."""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, ImagesWarning, SplitName, Splits

CHUNK = 2**24
"""Bytes of images that are looked at together."""


def read_splits(dataset: Dataset, *needed: SplitName) -> tuple[Splits, list[str]]:
    """The banks of a dataset, and reasons to doubt errors that are measured on them.

    ``needed`` are the splits that must have classes.

    These are the dataset's own :class:`.ImagesWarning` and those of :func:`image_warnings`, one
    sentence each.

    Raises:
        InputError: files are missing or unusable.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImagesWarning)
        splits = dataset.splits_with(*needed)
    found = []
    for one in caught:
        if issubclass(one.category, ImagesWarning):
            found.append(str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return splits, [*found, *image_warnings(splits)]


def image_warnings(splits: Splits) -> Iterator[str]:
    """A sentence for each split with blank images, or with one image again and again."""
    for name, bank in vars(splits).items():
        if len(bank) > 1 and all((part == bank.images[:1]).all() for part in _parts(bank.images)):
            yield f"All {len(bank)} {name} images are the same."
            continue
        if bank.image_shape[1:] == (1, 1):  # embeddings
            continue
        blank = _blank(bank)
        if len(blank):
            yield (
                f"Blank, of one colour alone: {len(blank)} of {len(bank)} {name} images; the first "
                f"is {bank.name_of(int(blank[0]))}."
            )


def _blank(bank: ImageBank) -> Tensor:
    """Rows of the images that have a single colour, int64 ``[n]``."""
    parts = [(p == p[..., :1, :1]).flatten(1).all(1) for p in _parts(bank.images)]
    return torch.cat(parts).nonzero().flatten() if parts else torch.arange(0)


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    return images.split(max(1, CHUNK // max(1, images[0].numel()))) if len(images) else ()
