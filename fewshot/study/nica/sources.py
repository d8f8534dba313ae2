"""Sources that segments modulate, and the network that mixes them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.study.nica.config import Mixing, Sources
from guided.seeds import generator


@dataclass(frozen=True)
class Samples:
    """Samples of one seed, the same number of each segment.

    Attributes:
        sources: float ``[N, n]``.
        mixtures: what is observed of them, float ``[N, n]``.
        segments: int64 ``[N]``.
    """

    sources: Tensor
    mixtures: Tensor
    segments: Tensor


def draw(sources: Sources, mixing: Mixing, seed: int, number: int, split: str) -> Samples:
    """Draw samples; segments and mixing are the same for each number and split.

    Args:
        sources: their distribution.
        mixing: the network that mixes them.
        seed: of everything.
        number: of samples in each segment.
        split: ``train`` or ``test``, each with samples of its own.
    """
    chance = generator(seed, "nica", "segments")
    shape = sources.segments, sources.number
    mean = sources.mean * (2 * torch.rand(shape, generator=chance) - 1)
    spread = sources.most_std - sources.least_std
    std = sources.least_std + spread * torch.rand(shape, generator=chance)
    noise = torch.randn(number, *shape, generator=generator(seed, "nica", split, number))
    values = (mean + std * noise).flatten(0, 1)
    return Samples(values, mix(values, mixing, seed), torch.arange(shape[0]).repeat(number))


def mix(values: Tensor, mixing: Mixing, seed: int) -> Tensor:
    """Mixtures ``[N, n]`` of sources ``[N, n]``."""
    chance = generator(seed, "nica", "mixing")
    n = values.shape[1]
    for layer in range(mixing.layers):
        left, right = (
            torch.linalg.qr(torch.randn(n, n, generator=chance, dtype=torch.float64)).Q
            for _ in range(2)
        )
        scales = torch.linspace(1, mixing.condition, n, dtype=torch.float64)
        values = values if not layer else F.leaky_relu(values, mixing.slope)
        values = values @ (left * scales @ right).to(values.dtype)
    return values
