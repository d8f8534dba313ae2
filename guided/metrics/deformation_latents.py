"""Measurements of latents that are named after a deformation."""

from typing import Any

import torch

from guided.affine import AFFINE
from guided.figures.grids import spaced
from guided.metrics.deformation import (
    correlation_across_images,
    correlation_within_images,
    deformation_response,
)
from guided.metrics.held_out import HeldOut, Slices
from guided.metrics.retrieval import deformed_twice, retrieval_error

N_IMAGES = 256


def follow_deformations(held_out: HeldOut, slices: Slices) -> list[dict[str, Any]]:
    """The correlation of each deformation latent with its deformation, beside all other latents.

    Deformations that are not affine are left out.
    """
    images = spaced(held_out.images, N_IMAGES).to(held_out.device).float() / 255
    measured = []
    for name in AFFINE:
        if name not in slices:
            continue
        amounts, latents = deformation_response(held_out.encoder, images, name)
        within = correlation_within_images(amounts, latents).abs()
        across = correlation_across_images(amounts, latents).abs()
        own = slices[name][0]
        others = [i for i in range(len(within)) if i not in range(*slices[name])]
        if not others:
            continue
        measured.append(
            {
                "measure": f"correlation of a latent with an applied {name}",
                "unit": "",
                "target": round(float(within[own]), 4),
                "other": round(float(within[others].mean()), 4),
                "other_max": round(float(within[others].max()), 4),
                "across_images": round(float(across[own]), 4),
                "latent": name,
            }
        )
    return measured


@torch.no_grad()
def find_deformed(held_out: HeldOut, slices: Slices) -> list[dict[str, Any]]:
    """The error of finding the other view of an image by its content latents, and by the others.

    Both views are deformed by everything that the deformation latents are named after.
    """
    names = [name for name in AFFINE if name in slices]
    images = spaced(held_out.images, N_IMAGES).to(held_out.device).float() / 255
    first, second = (held_out.encoder(view) for view in deformed_twice(images, names))
    deforming = [i for name in names for i in range(*slices[name])]
    content = [i for i in range(first.shape[1]) if i not in deforming]
    if not names or not content:
        return []
    errors = [retrieval_error(first[:, part], second[:, part]) for part in (content, deforming)]
    return [
        {
            "measure": f"finding a deformed image among {len(images)}, error in percent",
            "unit": "%",
            "target": round(errors[0], 3),
            "other": round(errors[1], 3),
            "deformations": names,
        }
    ]
