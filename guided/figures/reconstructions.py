"""Images beside their reconstructions."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.figures.grids import labelled_rows
from guided.vae import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def reconstructed(vae: VAE, images: Tensor) -> Tensor:
    """Images and, after them, their reconstructions from the posterior mean: ``[2 n, C, H, W]``.

    Args:
        vae: in evaluation mode.
        images: uint8 or float in [0, 1], ``[n, C, H, W]``.
    """
    batch = vae.encoder.normalised(images)
    return torch.cat([batch, vae.decode(vae.posterior(batch).mean)])


def reconstruction_figure(vae: VAE, images: Tensor) -> "Figure":
    """Images ``[n, C, H, W]`` above their reconstructions; see :func:`reconstructed`."""
    pairs = reconstructed(vae, images).clamp(0, 1).unflatten(0, (2, len(images)))
    return labelled_rows(pairs, ["image", "reconstruction"], [""] * len(images))
