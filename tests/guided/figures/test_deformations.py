"""The figure of principal deformations: images in the middle, what moves most first."""

import numpy as np
import torch

from guided import Deformations
from guided.figures import Sheet, deformations_figure
from guided.free_form import coefficients_of_affine

SIDE = 12


def test_images_move_along_each_direction():
    """Of shifts along x alone, at plus and minus the same distance."""
    by = coefficients_of_affine(torch.tensor([[[1.0, 0, 2 / SIDE], [0, 1, 0]]]))  # a pixel
    model = Deformations(by.T @ by, torch.eye(32))
    images = torch.randint(256, (2, 1, SIDE, SIDE), dtype=torch.uint8)
    sheet = Sheet.of(deformations_figure(model, images, n=2))
    assert sheet.rows[0] == "1: 100 %"
    assert sheet.columns == ("-2 sd", "-1 sd", "image", "+1 sd", "+2 sd") * 2
    cells = sheet.pixels.reshape(2, SIDE, 10, SIDE).transpose(0, 2, 1, 3)
    for number, image in enumerate(images[:, 0].numpy()):
        minus, _, middle, one, plus = cells[0, 5 * number : 5 * number + 5].astype(int)
        assert abs(middle - image).max() <= 1
        pair = (minus, plus) if abs(one[:, :-1] - image[:, 1:]).max() <= 1 else (plus, minus)
        assert abs(pair[1][:, :-2] - image[:, 2:]).max() <= 1
        assert abs(pair[0][:, 2:] - image[:, :-2]).max() <= 1
        assert np.abs(cells[1, 5 * number].astype(int) - image).max() <= 1  # nothing is left
