"""Smooth deformations by control points: exact for affine maps, and read back from shifts."""

import pytest
import torch

from guided import free_form
from guided.affine import AFFINE, affine, warp


def drawn(n=5, seed=0):
    return torch.randn(n, free_form.N_COEFFICIENTS, generator=torch.Generator().manual_seed(seed))


def test_a_shift_is_the_bernstein_polynomial_of_the_control_points():
    coefficients, (height, width) = drawn(2), (5, 7)
    found = free_form.shifts(coefficients, height, width)
    binomial = [1, 3, 3, 1]
    for b, row, column in [(0, 0, 0), (1, 2, 6), (1, 4, 3)]:
        x, y = (column + 0.5) / width, (row + 0.5) / height  # from 0 to 1
        for axis in range(2):
            control = coefficients[b].view(2, 4, 4)[axis]
            expected = sum(
                binomial[i] * y**i * (1 - y) ** (3 - i)
                * binomial[j] * x**j * (1 - x) ** (3 - j) * float(control[i, j])
                for i in range(4)
                for j in range(4)
            )  # fmt: skip
            assert float(found[b, row, column, axis]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(28, 28), (4, 9)])
def test_coefficients_are_read_back(shape):
    coefficients = drawn()
    found = free_form.coefficients_of(free_form.shifts(coefficients, *shape))
    torch.testing.assert_close(found, coefficients, atol=2e-3, rtol=0)


def test_affine_maps_are_among_them():
    amounts = {name: torch.tensor([0.2, -0.3]) for name in AFFINE}
    matrix, images = affine(**amounts), torch.rand(2, 1, 12, 12)
    shifts = free_form.shifts(free_form.coefficients_of_affine(matrix), 12, 12)
    torch.testing.assert_close(
        warp(images, torch.eye(2, 3).unsqueeze(0), shifts), warp(images, matrix), atol=1e-4, rtol=0
    )
    control = free_form.coefficients_of_affine(matrix).view(2, 2, 16)
    expected = matrix[:, :, :2] - torch.eye(2)
    torch.testing.assert_close(control @ free_form.slopes().T, expected, atol=1e-5, rtol=0)
