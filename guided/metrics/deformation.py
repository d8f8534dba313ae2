"""Correlation of latents with known deformations of their images."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from guided.affine import AffineName, as_seen, single, warp

RANGES: dict[AffineName, float] = {
    "rotation": math.radians(20),
    "scale": math.log(1.25),
    "shear": 0.4,
    "translation_x": 0.15,
    "translation_y": 0.15,
}
"""The largest amounts that are applied, in the units of :mod:`guided.affine`."""


def deform(images: Tensor, deformation: AffineName, amount: Tensor) -> Tensor:
    """Images deformed by known amounts, bilinear, 0 outside.

    Args:
        images: float ``[B, C, H, W]``.
        deformation: name of the deformation.
        amount: ``[B]``, as seen on the image (:func:`guided.affine.as_seen`): radians
            counter-clockwise, log of the enlargement, slope, or half image widths to the right or
            downwards.
    """
    return warp(images, single(deformation, as_seen(deformation, amount)))


@torch.no_grad()
def deformation_response(
    encode: Callable[[Tensor], Tensor],
    images: Tensor,
    deformation: AffineName,
    steps: int = 13,
) -> tuple[Tensor, Tensor]:
    """Latents of images deformed by evenly spaced amounts.

    Args:
        encode: images to latents ``[B, d]``.
        images: float in [0, 1], ``[B, C, H, W]``.
        deformation: name of the deformation; amounts span ± :data:`RANGES`.
        steps: number of amounts.

    Returns:
        amounts ``[steps]`` and latents ``[steps, B, d]``.
    """
    limit = RANGES[deformation]
    amounts = torch.linspace(-limit, limit, steps, device=images.device)
    latents = [encode(deform(images, deformation, a.expand(len(images)))) for a in amounts]
    return amounts, torch.stack(latents)


def correlation_within_images(amounts: Tensor, latents: Tensor) -> Tensor:
    """Pearson correlation of each latent with the amount applied, relative to each image.

    Every image has a pose of its own before it is deformed: its latents are centred on their mean
    over the amounts, and then all images are pooled.

    Args:
        amounts: ``[steps]``.
        latents: ``[steps, B, d]``.

    Returns:
        ``[d]``, in [-1, 1]; 0 for a constant latent.
    """
    centred = latents - latents.mean(0)
    return _correlation(amounts, centred)


def correlation_across_images(amounts: Tensor, latents: Tensor) -> Tensor:
    """Correlation ``[d]`` with the amount applied, among images of unknown pose.

    Arguments as for :func:`correlation_within_images`, whose centring by image is left out.
    """
    return _correlation(amounts, latents - latents.mean((0, 1)))


def _correlation(amounts: Tensor, centred: Tensor) -> Tensor:
    applied = (amounts - amounts.mean())[:, None, None]
    covariance = (applied * centred).mean((0, 1))
    scale = (applied.square().mean() * centred.square().mean((0, 1))).sqrt()
    return torch.where(scale > 0, covariance / scale.clamp_min(1e-20), 0.0)
