"""Labelled noise to train on for a few steps."""

import pytest
import torch

from guided import LabelledImages


@pytest.fixture
def data(make_images):
    labels = torch.arange(20) % 3
    return LabelledImages(make_images(20), {"class": labels}), LabelledImages(make_images(6))
