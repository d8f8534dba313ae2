"""What guidance did to an encoder's latents, in numbers, on classes it never saw."""

from collections.abc import Mapping
from pathlib import Path
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
    encoder_file: Path,
    bank: ImageBank,
    slices: Mapping[str, tuple[int, int]],
    device: str = "cpu",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """All measurements that apply to an encoder.

    Args:
        encoder_file: the checkpoint.
        bank: held-out images.
        slices: attribute -> the latents that some arm excites for it; every encoder with latents
            is probed at the same places, so that guided and unguided ones compare.
        device: where to encode.
        seed: of the probes' splits.
    """
    encoder = Encoder.load(encoder_file).to(device)
    if encoder.layout is None:
        return []
    return _deformations(encoder, bank, device) + _probes(encoder, bank, slices, device, seed)


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
        measured.append(
            {
                "measure": f"linear probe of {name}, error in percent",
                "latents": [start, stop],
                "slice": round(linear_probe_error(latents[:, inside], labels, seed=seed), 3),
                "rest": round(linear_probe_error(latents[:, outside], labels, seed=seed), 3),
            }
        )
    return measured
