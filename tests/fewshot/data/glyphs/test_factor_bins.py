"""Factors in bins: quantiles of the training images, for all three splits."""

import numpy as np
import pytest
import torch

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.glyphs.factor_bins import with_binned_factors
from fewshot.data.glyphs.handwriting import FACTORS

SMALL = {"n_alphabets": 3, "n_characters": 4, "validation_alphabets": 1, "test_alphabets": 1}


def bank(*angles):
    n = len(angles)
    return ImageBank(
        torch.zeros(n, 1, 2, 2, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.int64),
        ("a",),
        {"drawer": torch.arange(n)},
        {"angle": torch.tensor(angles)},
    )


def test_the_training_median_parts_every_split():
    splits = with_binned_factors(Splits(bank(4, 1, 2, 3), bank(2.4, 2.6, -9), bank(9, 8)), n_bins=2)
    assert splits.train.attributes["angle"].tolist() == [1, 0, 0, 1]
    assert splits.validation.attributes["angle"].tolist() == [0, 1, 0]
    assert splits.test.attributes["angle"].tolist() == [1, 1]
    # All else is as it was; guidance is shown both.
    assert splits.train.factors["angle"].tolist() == [4, 1, 2, 3]
    assert set(splits.train.targets()) == {"class", "drawer", "angle"}


@pytest.mark.parametrize("n_bins", [2, 3, 5])
def test_bins_are_equally_full_and_in_order(n_bins):
    angles = np.random.default_rng(0).normal(size=300)
    split = with_binned_factors(Splits(*[bank(*angles)] * 3), n_bins).train
    bins = split.attributes["angle"]
    assert bins.dtype == torch.int64
    assert bins.bincount().tolist() == [300 // n_bins] * n_bins
    in_order = bins[split.factors["angle"].argsort()]
    assert (in_order.diff() >= 0).all()


@pytest.mark.parametrize("split", ["alphabets", "drawers"])
def test_glyphs_offer_their_factors(split):
    plain = Glyphs(**SMALL, split=split).splits()
    splits = Glyphs(**SMALL, split=split, factor_bins=2).splits()
    assert list(plain.train.attributes) == ["alphabet", "drawer"]
    assert list(splits.train.attributes) == ["alphabet", "drawer", *FACTORS]
    for one, two in zip(vars(plain).values(), vars(splits).values(), strict=True):
        assert one.digest == two.digest
        for name in FACTORS:
            median = np.median(plain.train.factors[name].numpy())
            assert torch.equal(two.attributes[name], (one.factors[name] > median).long()), name


def test_the_cache_is_the_same_with_bins_and_without(cache):
    Glyphs(**SMALL).splits()
    before = sorted(cache.iterdir())
    Glyphs(**SMALL, factor_bins=3).splits()
    assert sorted(cache.iterdir()) == before
