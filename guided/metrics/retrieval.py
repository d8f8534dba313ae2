"""Retrieval of an image among others by its latents."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from guided.affine import AffineName
from guided.metrics.deformation import RANGES, deform
from guided.seeds import generator


def deformed_twice(images: Tensor, deformations: Sequence[AffineName], seed: int = 0) -> Tensor:
    """Each image under two draws of the deformations, uniform up to :data:`RANGES`.

    Args:
        images: float in [0, 1], ``[B, C, H, W]``.
        deformations: names, in the order of application.
        seed: of the amounts.

    Returns:
        ``[2, B, C, H, W]``.
    """
    views = images.repeat(2, 1, 1, 1)
    for name in deformations:
        chance = generator(seed, "deformed twice", name)
        amount = RANGES[name] * (2 * torch.rand(len(views), generator=chance) - 1)
        views = deform(views, name, amount.to(images.device))
    return views.unflatten(0, (2, -1))


def retrieval_error(first: Tensor, second: Tensor) -> float:
    """The share of images whose other view is not the nearest by cosine, in percent.

    Args:
        first: latents of one view of each image, ``[B, d]``.
        second: of the other view.
    """
    cosines = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    found = cosines.argmax(1) == torch.arange(len(first), device=first.device)
    return 100 * (1 - float(found.float().mean()))
