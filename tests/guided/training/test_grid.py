"""Grids of images, compared with torchvision's."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid

from guided.training.grid import image_grid


@pytest.mark.parametrize(("n", "channels", "columns"), [(7, 1, 3), (6, 3, 3), (2, 1, 8)])
def test_the_grid_is_torchvisions(n, channels, columns):
    images = torch.rand(n, channels, 4, 5, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    expected = make_grid(images, nrow=columns, padding=1, pad_value=0.5)
    expected = (255 * expected).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    with Image.open(io.BytesIO(image_grid(images, columns))) as shown:
        assert shown.mode == {1: "L", 3: "RGB"}[channels]
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), expected)
