"""What guidance did to an encoder's latents, in numbers, on classes it never saw."""

from collections.abc import Mapping
from typing import Any, get_args

import torch

from fewshot.data.bank import ImageBank
from fewshot.evaluate import embed_bank
from guided.checkpoint import Encoder
from guided.metrics.deformation import (
    Applied,
    correlation_across_images,
    correlation_within_images,
    deformation_response,
)
from guided.metrics.probe import linear_probe_error

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
    if encoder.layout is None:
        return []
    encoder = encoder.to(device).eval()
    return _deformations(encoder, bank, device) + _probes(encoder, bank, slices, device, seed)


def excited_slices(encoder: Encoder, bank: ImageBank) -> dict[str, tuple[int, int]]:
    """Attribute -> its latents, for the slices that are named after an attribute of the bank."""
    slices = encoder.layout.slices if encoder.layout else {}
    return {name: place for name, place in slices.items() if name in bank.targets()}


def _deformations(encoder: Encoder, bank: ImageBank, device: str) -> list[dict[str, Any]]:
    """For each deformation latent: how it follows that deformation, beside all other latents."""
    layout = encoder.layout
    assert layout is not None
    names = [name for name in get_args(Applied) if name in layout.slices]
    spread = torch.linspace(0, len(bank) - 1, min(N_IMAGES, len(bank))).long()
    images = bank.images[spread].to(device).float() / 255
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


def _probes(
    encoder: Encoder,
    bank: ImageBank,
    slices: Mapping[str, tuple[int, int]],
    device: str,
    seed: int,
) -> list[dict[str, Any]]:
    if not slices:
        return []
    latents = embed_bank(encoder, bank, device).cpu().numpy()
    measured = []
    for name, (start, stop) in slices.items():
        labels = bank.targets()[name].numpy()
        inside = list(range(start, stop))
        outside = [i for i in range(latents.shape[1]) if i not in set(inside)]
        try:
            own, rest = (
                linear_probe_error(latents[:, part], labels, seed=seed)
                for part in (inside, outside)
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
