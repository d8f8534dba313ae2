"""Finding an image's other view: known answers."""

import math

import pytest
import torch

from guided.metrics.retrieval import deformed_twice, retrieval_error


def test_views_that_share_a_direction_are_found_and_others_by_chance():
    first = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))
    assert retrieval_error(first, 3 * first) == 0
    assert retrieval_error(first, first.roll(1, 0)) == 100
    half = first.clone()
    half[:100] = first[:100].roll(1, 0)
    assert retrieval_error(first, half) == pytest.approx(50)
    strangers = torch.randn(200, 20, generator=torch.Generator().manual_seed(1))
    assert retrieval_error(first, strangers) > 95


def test_views_are_deformed_by_amounts_of_their_own():
    axis = (torch.arange(32) + 0.5) / 16 - 1
    blob = torch.exp(-(axis**2 + (axis[:, None]) ** 2) / 0.02)
    views = deformed_twice(blob.expand(64, 1, 32, 32), ["translation_x"])
    assert views.shape == (2, 64, 1, 32, 32)
    columns = views.sum((2, 3))
    centres = (columns * axis).sum(2) / columns.sum(2)
    assert centres.abs().max() <= 0.15 + 1e-3
    assert centres.std() > 0.15 / math.sqrt(3) * 0.8
    assert not torch.isclose(centres[0], centres[1]).any()
    assert torch.equal(views, deformed_twice(blob.expand(64, 1, 32, 32), ["translation_x"]))
