"""Latent traversals: images decoded while one latent, or one direction, moves."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.figures.grids import labelled_rows
from guided.latents import REST, LatentLayout
from guided.vae import VAE, Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Decode = Callable[[Tensor], Tensor]
"""Latents ``[B, latent_dim]`` to images ``[B, C, H, W]``."""

STEPS = torch.linspace(-3, 3, 9)
"""Values of a traversed latent, in units of its spread."""


@torch.no_grad()
def traversal(z: Tensor, latents: list[int], values: Tensor) -> Tensor:
    """Copies of one code in which one latent at a time takes each value.

    Args:
        z: the code, ``[latent_dim]``.
        latents: indices of the latents to move.
        values: ``[n]``, or ``[len(latents), n]`` for each latent its own.

    Returns:
        ``[len(latents), n, latent_dim]``.
    """
    codes = z.expand(len(latents), values.shape[-1], -1).clone()
    for row, latent in enumerate(latents):
        codes[row, :, latent] = values if values.ndim == 1 else values[row]
    return codes


@torch.no_grad()
def spread(vae: VAE, images: Tensor) -> Tensor:
    """Standard deviation of each latent over images: of the aggregate posterior, ``[latent_dim]``.

    1 for a latent that follows the prior; a latent that is much narrower means nothing at 1.
    """
    posterior = vae.posterior(images)
    return (posterior.mean.var(0, correction=0) + posterior.logvar.exp().mean(0)).sqrt()


def traversal_along(codes: Tensor, axis: Tensor, posterior: Posterior, values: Tensor) -> Tensor:
    """Codes whose coordinate along a direction is set to each value, all else unchanged.

    Values 0 and 1 are the mean and the mean plus one standard deviation of the aggregate
    posterior along the direction.

    Args:
        codes: ``[n, latent_dim]``.
        axis: a unit vector, ``[latent_dim]``.
        posterior: of many images.
        values: ``[m]``.

    Returns:
        ``[n, m, latent_dim]``.
    """
    along = posterior.mean @ axis
    deviation = (along.var(correction=0) + (posterior.logvar.exp() @ axis.square()).mean()).sqrt()
    places = along.mean() + deviation * values.to(codes.device)
    steps = places - (codes @ axis)[:, None]
    return codes[:, None] + steps[..., None] * axis


@torch.no_grad()
def traversal_figure(
    vae: VAE,
    image: Tensor,
    rows: int = 10,
    *,
    decode: Decode | None = None,
    unit: Tensor | None = None,
) -> "Figure":
    """Each row moves one latent of one image's code from -3 to 3; labelled by the latent's name.

    Args:
        vae: in evaluation mode.
        image: uint8 or float, ``[C, H, W]``.
        rows: how many latents; see :func:`latents_shown`.
        decode: another decoder than the VAE's.
        unit: size of a step for each latent, ``[latent_dim]``; 1 if not given.
    """
    latents, _ = latents_shown(vae, image, rows)
    code = vae.posterior(image[None]).mean[0]
    return rows_of_latents(decode or vae.decode, code, latents, vae.layout, unit)


@torch.no_grad()
def latents_shown(vae: VAE, image: Tensor, rows: int = 10) -> tuple[list[int], list[float]]:
    """The latents that a traversal of an image moves, and their KL for it, nats.

    The named slices come first, three latents of each at most, those of the largest KL first; then
    the others, by their KL.

    Args:
        vae: in evaluation mode.
        image: uint8 or float, ``[C, H, W]``.
        rows: how many.
    """
    kl = vae.posterior(image[None]).kl()[0].tolist()
    order = sorted(range(len(kl)), key=lambda i: -kl[i])
    named = [
        i
        for name in vae.layout.slices
        if name != REST
        for i in [i for i in order if i in vae.layout.indices(name)][:3]
    ]
    latents = [*named, *(i for i in order if i not in named)][:rows]
    return latents, [kl[i] for i in latents]


@torch.no_grad()
def rows_of_latents(
    decode: Decode,
    code: Tensor,
    latents: Sequence[int],
    layout: LatentLayout,
    unit: Tensor | None = None,
) -> "Figure":
    """A row of decoded images for each latent of a code, moved from -3 to 3.

    Args:
        decode: codes to images.
        code: ``[latent_dim]``.
        latents: indices of the latents to move.
        layout: names them.
        unit: size of a step for each latent, ``[latent_dim]``; 1 if not given.
    """
    latents, values = list(latents), STEPS.to(code.device)
    scale = torch.ones_like(code) if unit is None else unit
    codes = traversal(code, latents, scale[latents, None] * values)
    images = decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    labels = layout.labels()
    return labelled_rows(
        images, [labels[i] for i in latents], [f"{value:g}" for value in values.tolist()]
    )
