"""Known deformations against scipy and torch.rot90; correlations whose answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from guided.metrics.deformation import (
    RANGES,
    correlation_across_images,
    correlation_within_images,
    deform,
    deformation_response,
)

N = 17
IMAGES = torch.rand(3, 2, N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def deformed(deformation, amount):
    return deform(IMAGES, deformation, torch.full((3,), amount, dtype=torch.float64))


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_rotation_is_counter_clockwise(quarters):
    expected = torch.rot90(IMAGES, quarters, (2, 3))
    torch.testing.assert_close(deformed("rotation", quarters * math.pi / 2), expected)


@pytest.mark.parametrize(
    ("deformation", "amount", "matrix"),
    [
        # Output to input, (row, column), around the centre: enlarged by the exponential.
        ("scale", math.log(2), [[0.5, 0], [0, 0.5]]),
        ("scale", -0.2, [[math.exp(0.2), 0], [0, math.exp(0.2)]]),
        # Rows below the middle read further to the right: they move to the left.
        ("shear", 0.4, [[1, 0], [0.4, 1]]),
        ("shear", -0.25, [[1, 0], [-0.25, 1]]),
    ],
)
def test_scale_and_shear_are_scipys(deformation, amount, matrix):
    centre = np.full(2, (N - 1) / 2)
    how = {"offset": centre - matrix @ centre, "order": 1, "mode": "grid-constant"}
    expected = [[ndimage.affine_transform(c, matrix, **how) for c in image] for image in IMAGES]
    np.testing.assert_allclose(deformed(deformation, amount), expected, atol=1e-9)


@pytest.mark.parametrize("pixels", [1, -3])
def test_translation_is_to_the_right_or_downwards_in_half_widths(pixels):
    for deformation, axis in (("translation_x", 3), ("translation_y", 2)):
        expected = torch.roll(IMAGES, pixels, axis)
        emptied = slice(0, pixels) if pixels > 0 else slice(pixels, None)
        expected[(slice(None),) * axis + (emptied,)] = 0
        torch.testing.assert_close(deformed(deformation, pixels / (N / 2)), expected)


@pytest.mark.parametrize("deformation", RANGES)
def test_no_amount_is_the_identity_and_each_image_has_its_own(deformation):
    amounts = torch.tensor([0.0, 0.5, 1], dtype=torch.float64) * RANGES[deformation]
    mixed = deform(IMAGES, deformation, amounts)
    torch.testing.assert_close(mixed[0], IMAGES[0])
    torch.testing.assert_close(mixed[1:], deform(IMAGES[1:], deformation, amounts[1:]))
    assert (mixed[1:] - IMAGES[1:]).abs().amax((1, 2, 3)).min() > 0.1


def test_response_encodes_evenly_spaced_deformations():
    images = IMAGES.float()
    amounts, latents = deformation_response(
        lambda views: views.flatten(1), images, "rotation", steps=5
    )
    torch.testing.assert_close(amounts, math.radians(20) * torch.tensor([-1, -0.5, 0, 0.5, 1]))
    views = [deform(images, "rotation", amount.expand(3)).flatten(1) for amount in amounts]
    torch.testing.assert_close(latents, torch.stack(views))


def test_correlations_are_those_of_numpy():
    rng = torch.Generator().manual_seed(0)
    amounts = torch.linspace(-1, 1, 7, dtype=torch.float64)
    pose = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    noise = torch.randn(7, 50, 3, generator=rng, dtype=torch.float64)
    strength = torch.tensor([1.0, -0.3, 0.0], dtype=torch.float64)
    latents = strength * amounts[:, None, None] + 4 * pose + 0.5 * noise
    for correlation, values in (
        (correlation_across_images, latents),
        (correlation_within_images, latents - latents.mean(0)),
    ):
        pooled = amounts.repeat_interleave(50), *values.flatten(0, 1).T
        expected = np.corrcoef(torch.stack(pooled))[0, 1:]
        np.testing.assert_allclose(correlation(amounts, latents), expected, atol=1e-12)
        follows = amounts[:, None].expand(7, 50)
        known = torch.stack([follows, 7 - 3 * follows, follows.abs(), 0 * follows + 0.1], 2)
        np.testing.assert_allclose(correlation(amounts, known), [1, -1, 0, 0], atol=1e-12)
