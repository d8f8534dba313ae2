"""Blank and equal images are noticed, and what a dataset itself warns of."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from fewshot.data.bank import ImageBank
from fewshot.data.checks import CHUNK, image_warnings, read_splits
from fewshot.data.dataset import ImagesWarning, Splits


def bank(images):
    return ImageBank(images, torch.arange(len(images)) // 2, tuple("abcdefgh"))


@pytest.fixture
def noise():
    return torch.randint(0, 256, (6, 3, 5, 4), generator=torch.Generator().manual_seed(0)).byte()


def test_nothing_is_said_of_ordinary_images(noise):
    assert list(image_warnings(Splits(bank(noise), bank(noise[:1]), bank(noise[:0])))) == []


def test_blank_images_are_counted_and_the_first_is_named(noise, monkeypatch):
    images = noise.clone()
    images[3] = torch.tensor([10, 20, 30]).byte()[:, None, None]  # one colour, not one grey
    images[4] = 0
    monkeypatch.setattr("fewshot.data.checks.CHUNK", 2 * images[0].numel())
    assert 2 * images[0].numel() < CHUNK
    (said,) = image_warnings(Splits(bank(noise), bank(noise), bank(images)))
    assert (
        said == "Blank, of one colour alone: 2 of 6 test images; the first is image 1 of class 'b'."
    )


@pytest.mark.parametrize("row", [0, 5])
def test_the_same_image_again_and_again(noise, row):
    same = noise[row : row + 1].repeat(6, 1, 1, 1)
    assert list(image_warnings(Splits(bank(noise), bank(same), bank(noise)))) == [
        "All 6 validation images are the same."
    ]
    same[row, 0, 0, 0] ^= 1
    assert list(image_warnings(Splits(bank(noise), bank(same), bank(noise)))) == []


class OwnWarning(ImagesWarning):
    """Of a dataset outside the package."""


def test_a_datasets_own_warnings_are_told_and_others_stay_warnings(noise):
    def splits():
        warnings.warn("labels are guessed", OwnWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return Splits(bank(noise), bank(noise), bank(noise))

    with pytest.warns(DeprecationWarning, match="old") as caught:
        _, said = read_splits(SimpleNamespace(splits_with=splits))
    assert said == ["labels are guessed"]
    assert len(caught) == 1
