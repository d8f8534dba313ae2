"""Images side by side as one small PNG, for logs that are written often."""

import io

import torch
from torch import Tensor
from torch.nn.functional import pad

GREY = 0.5
COMPRESSION = 2
"""Of 9: hardly larger than by the default level, 6, and several times as fast."""


def image_grid(images: Tensor, columns: int) -> bytes:
    """A grid of images, row by row, with a grey line of a pixel around each.

    Args:
        images: ``[n, C, H, W]`` in [0, 1], of one channel or three; values outside are drawn as
            the nearest inside.
        columns: images in a row, if there are as many.

    Returns:
        a PNG of as many channels.
    """
    from PIL import Image

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    images = pad(images.detach(), (1, 0, 1, 0), value=GREY)
    cells = images.new_full((rows * columns, *images.shape[1:]), GREY)
    cells[: len(images)] = images
    grid = cells.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    grid = pad(grid, (0, 0, 0, 1, 0, 1), value=GREY)
    pixels = (255 * grid).clamp(0, 255).to(torch.uint8).squeeze(-1).cpu().numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=COMPRESSION)
    return content.getvalue()
