"""Known deformations against scipy and torch.rot90; correlations whose answer is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from guided.metrics.deformation import (
    RANGES,
    correlation_across_images,
    correlation_within_images,
    deform,
    deformation_response,
)

N = 17


def random_images(rows=2):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(rows, 2, N, N, generator=rng, dtype=torch.float64)


def constant(amount, rows=2):
    return torch.full((rows,), amount, dtype=torch.float64)


def by_scipy(images, matrix, shift):
    """Images read at ``matrix @ (row, column) + shift``, pixels, around the centre."""
    centre = np.full(2, (N - 1) / 2)
    offset = centre - np.array(matrix) @ centre + np.array(shift)
    return np.stack(
        [
            [
                ndimage.affine_transform(c, matrix, offset, order=1, mode="grid-constant")
                for c in image
            ]
            for image in images.numpy()
        ]
    )


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_rotation_is_counter_clockwise(quarters):
    images = random_images()
    turned = deform(images, "rotation", constant(quarters * math.pi / 2))
    torch.testing.assert_close(turned, torch.rot90(images, quarters, (2, 3)))


@pytest.mark.parametrize("amount", [math.log(2), -0.2])
def test_scale_enlarges_by_the_exponential(amount):
    factor = math.exp(-amount)
    expected = by_scipy(random_images(), [[factor, 0], [0, factor]], (0, 0))
    scaled = deform(random_images(), "scale", constant(amount))
    np.testing.assert_allclose(scaled, expected, atol=1e-9)


@pytest.mark.parametrize("amount", [0.4, -0.25])
def test_shear_is_a_slope(amount):
    # Rows below the middle read further to the right: they move to the left.
    expected = by_scipy(random_images(), [[1, 0], [amount, 1]], (0, 0))
    sheared = deform(random_images(), "shear", constant(amount))
    np.testing.assert_allclose(sheared, expected, atol=1e-9)


@pytest.mark.parametrize("pixels", [1, -3])
def test_translation_is_to_the_right_or_downwards_in_half_widths(pixels):
    images = random_images()
    amount = constant(pixels / (N / 2))
    for deformation, axis in (("translation_x", 3), ("translation_y", 2)):
        expected = torch.roll(images, pixels, axis)
        emptied = slice(0, pixels) if pixels > 0 else slice(pixels, None)
        expected[(slice(None),) * axis + (emptied,)] = 0
        torch.testing.assert_close(deform(images, deformation, amount), expected)


@pytest.mark.parametrize("deformation", RANGES)
def test_no_amount_is_the_identity_and_each_image_has_its_own(deformation):
    images = random_images()
    limit = RANGES[deformation]
    amounts = torch.tensor([0.0, limit], dtype=torch.float64)
    mixed = deform(images, deformation, amounts)
    torch.testing.assert_close(mixed[0], images[0])
    alone = deform(images[1:], deformation, amounts[1:])
    torch.testing.assert_close(mixed[1:], alone)
    assert (mixed[1] - images[1]).abs().max() > 0.1


def test_response_encodes_evenly_spaced_deformations():
    images = random_images(3).float()
    calls: list[Tensor] = []

    def encode(deformed):
        calls.append(deformed)
        return deformed.mean((2, 3))

    amounts, latents = deformation_response(encode, images, "rotation", steps=5)
    torch.testing.assert_close(amounts, math.radians(20) * torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert latents.shape == (5, 3, 2)
    for amount, call, latent in zip(amounts, calls, latents, strict=True):
        torch.testing.assert_close(call, deform(images, "rotation", amount.expand(3)))
        torch.testing.assert_close(latent, call.mean((2, 3)))


Correlation = Callable[[Tensor, Tensor], Tensor]
BOTH = pytest.mark.parametrize(
    "correlation", [correlation_within_images, correlation_across_images], ids=["within", "across"]
)


@BOTH
def test_correlation_of_known_latents(correlation):
    amounts = torch.linspace(-0.5, 0.5, 13)
    follows = amounts[:, None].expand(13, 400)
    noise = torch.randn(13, 400, generator=torch.Generator().manual_seed(0))
    constant = torch.full((13, 400), 0.1)
    latents = torch.stack([follows, -3 * follows + 7, constant, noise, follows.abs(), 0 * noise], 2)
    correlations = correlation(amounts, latents)
    torch.testing.assert_close(correlations[:3], torch.tensor([1.0, -1.0, 0.0]))
    assert 0 < abs(correlations[3]) < 5 / (13 * 400) ** 0.5
    assert abs(correlations[4]) < 1e-6  # even in the amount
    assert correlations[5] == 0


def random_response():
    rng = torch.Generator().manual_seed(0)
    amounts = torch.linspace(-1, 1, 7, dtype=torch.float64)
    pose = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    noise = torch.randn(7, 50, 3, generator=rng, dtype=torch.float64)
    strength = torch.tensor([1.0, -0.3, 0.0], dtype=torch.float64)
    return amounts, strength * amounts[:, None, None] + 4 * pose + 0.5 * noise


def test_correlations_are_those_of_numpy():
    amounts, latents = random_response()
    applied = amounts[:, None].expand(7, 50).flatten()
    centred = latents - latents.mean(0, keepdim=True)
    for correlation, values in (
        (correlation_across_images, latents),
        (correlation_within_images, centred),
    ):
        expected = [np.corrcoef(applied, values[..., d].flatten())[0, 1] for d in range(3)]
        np.testing.assert_allclose(correlation(amounts, latents), expected, atol=1e-12)
