"""What guidance did to an encoder's latents, in numbers, on classes it never saw."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.data.bank import ImageBank
from fewshot.evaluation import embed_bank
from guided.encoder import Encoder
from guided.figures.grids import spaced
from guided.guidance.excitation_inhibition import parts
from guided.metrics.deformation import (
    Applied,
    correlation_across_images,
    correlation_within_images,
    deformation_response,
)
from guided.metrics.factor import rank_correlation
from guided.metrics.probe import linear_probe_error
from guided.metrics.retrieval import deformed_twice, retrieval_error

N_IMAGES = 256


def diagnose(
    encoder: Encoder,
    bank: ImageBank,
    slices: Mapping[str, tuple[int, int]],
    device: str = "cpu",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """All measurements that apply to an encoder and can be made on these images.

    Args:
        encoder: with all its latents.
        bank: held-out images.
        slices: attribute -> the latents that some arm excites for it; every encoder with latents
            is probed at the same places, so that guided and unguided ones compare.
        device: where to encode.
        seed: of the probes' splits.
    """
    layout = encoder.layout
    if layout is None:
        return []
    encoder = encoder.to(device).eval()
    measured = _deformations(encoder, bank, device) + _invariance(encoder, bank, device)
    # An encoder from a file may have fewer latents than the arm that excites.
    slices = {k: place for k, place in slices.items() if place[1] <= layout.latent_dim}
    if slices:
        latents = embed_bank(encoder, bank, device).cpu().numpy()
        measured += _factors(latents, bank, slices) + _probes(latents, bank, slices, seed)
    return measured


def excited_slices(encoder: Encoder, bank: ImageBank) -> dict[str, tuple[int, int]]:
    """Attribute -> its latents, for the slices that are named after an attribute of the bank, or
    after one within another (``drawer within alphabet``)."""
    slices = encoder.layout.slices if encoder.layout else {}
    known = set(bank.targets())
    return {name: place for name, place in slices.items() if known.issuperset(parts(name))}


def _deformations(encoder: Encoder, bank: ImageBank, device: str) -> list[dict[str, Any]]:
    """For each deformation latent: how it follows that deformation, beside all other latents."""
    layout = encoder.layout
    assert layout is not None
    names = [name for name in get_args(Applied) if name in layout.slices]
    images = spaced(bank.images, N_IMAGES).to(device).float() / 255
    measured = []
    for name in names:
        amounts, latents = deformation_response(encoder, images, name)
        within = correlation_within_images(amounts, latents).abs()
        across = correlation_across_images(amounts, latents).abs()
        own = layout.indices(name)[0]
        others = layout.complement(name)
        if not others:
            continue
        measured.append(
            {
                "measure": f"correlation of a latent with an applied {name}",
                "latent": name,
                "within_images": round(float(within[own]), 4),
                "across_images": round(float(across[own]), 4),
                "others_within_images_mean": round(float(within[others].mean()), 4),
                "others_within_images_max": round(float(within[others].max()), 4),
            }
        )
    return measured


@torch.no_grad()
def _invariance(encoder: Encoder, bank: ImageBank, device: str) -> list[dict[str, Any]]:
    """Whether an image is found among others by its content latents, and by those that deform,
    once both views of it are deformed by all that the deformation latents stand for."""
    layout = encoder.layout
    assert layout is not None
    names = [name for name in get_args(Applied) if name in layout.slices]
    content = layout.complement(*names)
    if not names or not content:
        return []
    images = spaced(bank.images, N_IMAGES).to(device).float() / 255
    first, second = (encoder(view) for view in deformed_twice(images, names))
    errors = [
        retrieval_error(first[:, part], second[:, part])
        for part in (content, layout.indices(*names))
    ]
    return [
        {
            "measure": f"finding a deformed image among {len(images)}, error in percent",
            "deformations": names,
            "slice": round(errors[0], 3),
            "rest": round(errors[1], 3),
        }
    ]


def _factors(
    latents: NDArray[np.floating], bank: ImageBank, slices: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """For each attribute that is a factor in bins: how its best latent follows the factor itself,
    beside all other latents."""
    measured = []
    for name, (start, stop) in slices.items():
        if name not in bank.factors or stop - start == latents.shape[1]:
            continue
        followed = np.abs(rank_correlation(latents, bank.factors[name].numpy()))
        others = np.delete(followed, slice(start, stop))
        measured.append(
            {
                "measure": f"rank correlation of a latent with the factor {name}",
                "latents": [start, stop],
                "slice": round(float(followed[start:stop].max()), 4),
                "rest": round(float(others.mean()), 4),
                "rest_max": round(float(others.max()), 4),
            }
        )
    return measured


def _probes(
    latents: NDArray[np.floating],
    bank: ImageBank,
    slices: Mapping[str, tuple[int, int]],
    seed: int,
) -> list[dict[str, Any]]:
    measured = []
    for name, (start, stop) in slices.items():
        inside = list(range(start, stop))
        outside = [i for i in range(latents.shape[1]) if i not in set(inside)]
        try:
            own, rest = (
                _probe_error(latents[:, part], bank, name, seed) for part in (inside, outside)
            )
        except ValueError:
            # Held-out classes of one category, categories of too few images, a slice of all
            # latents: nothing to measure, and no reason to lose a study that is trained.
            continue
        measured.append(
            {
                "measure": f"linear probe of {name}, error in percent",
                "latents": [start, stop],
                "slice": round(own, 3),
                "rest": round(rest, 3),
            }
        )
    return measured


def _probe_error(latents: NDArray[np.floating], bank: ImageBank, name: str, seed: int) -> float:
    """Of an attribute; of one within another, the mean over the other's values.

    Raises:
        ValueError: nothing can be measured.
    """
    attribute, *within = parts(name)
    labels = bank.targets()[attribute].numpy()
    groups = bank.targets()[within[0]].numpy() if within else np.zeros_like(labels)
    errors = []
    for group in np.unique(groups):
        inside = groups == group
        with suppress(ValueError):  # an alphabet of few characters; the others still tell
            errors.append(linear_probe_error(latents[inside], labels[inside], seed=seed))
    if not errors:
        raise ValueError(f"{name}: categories of too few images")
    return float(np.mean(errors))
