"""Labels without gaps, and batches of row numbers."""

import pytest
import torch

from guided import LabelledImages
from guided.training.data import Batches


def test_gaps_between_labels_are_closed(make_images):
    labels = {"class": torch.tensor([17, -1, 7, 17]), "smile": torch.tensor([0, 2, 0, 0])}
    found = LabelledImages.from_images(LabelledImages(make_images(4), labels))
    assert {k: v.tolist() for k, v in found.labels.items()} == {
        "class": [1, -1, 0, 1],
        "smile": [0, 1, 0, 0],
    }
    assert found.categories() == {"class": 2, "smile": 2}


def test_quantities_are_no_categories(make_images):
    nan = float("nan")
    size, flat = torch.tensor([2.0, nan, 4.0, 9.0]), torch.tensor([3.0, nan, 3.0, 3.0])
    labels = {"class": torch.arange(4), "factor size": size, "factor flat": flat}
    found = LabelledImages.from_images(LabelledImages(make_images(4), labels))
    torch.testing.assert_close(found.labels["factor size"], size, equal_nan=True)
    assert found.categories() == {"class": 4}
    scales = found.scales()
    assert scales == {"size": (5.0, pytest.approx(13**0.5))}, "one that never varies has no scale"


def test_a_batch_is_a_function_of_seed_and_step_alone():
    def fresh(seed=1):
        return Batches(23, 5, seed, torch.device("cpu"))

    used = fresh()
    for step in (17, 0, 5, 16, 4, 5):
        assert torch.equal(used[step], fresh()[step])
    assert not torch.equal(fresh(1)[0], fresh(2)[0])
    passes = torch.cat([used[step] for step in range(20)])
    assert set(passes.tolist()) == set(range(23))  # the rest of a pass comes later
