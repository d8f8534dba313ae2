"""Held-out images as one encoder sees them: the input of every measurement of latents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided.encoder import Encoder
from guided.finite import check_embeddings

Counterfactual = Callable[[Mapping[str, Tensor], str, Tensor], Mapping[str, Tensor]]
"""Factors ``[n]`` of images, a factor and its new values ``[n]``, to all factors after it is set:
its effects follow, with the same noise."""

Slices = Mapping[str, tuple[int, int]]
"""Name of a slice of latents -> (start, stop)."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out images and an encoder of them.

    Args:
        encoder: with all its latents, in evaluation mode.
        images: uint8 ``[N, C, H, W]``.
        targets: attribute -> int64 ``[N]``.
        factors: ground-truth factor -> ``[N]``.
        counterfactual: factors ``[N]`` after one of them is set, if the truth is known.
        seed: of what a measurement draws.
        batch_size: images encoded at a time.
    """

    encoder: Encoder
    images: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    counterfactual: Counterfactual | None = None
    seed: int = 0
    batch_size: int = 1024

    @property
    def device(self) -> torch.device:
        """The encoder's device."""
        return self.encoder.chosen.device

    @cached_property
    @torch.no_grad()
    def latents(self) -> NDArray[np.floating]:
        """Posterior means, ``[N, latent_dim]``.

        Raises:
            InputError: one is NaN or infinite.
        """
        parts = self.images.split(self.batch_size)
        means = torch.cat([self.encoder(part.to(self.device)) for part in parts])
        return check_embeddings(means).cpu().numpy()


Measure = Callable[[HeldOut, Slices], list[dict[str, Any]]]
"""Measures some slices of latents. Each entry of the result has its ``measure`` in words, its
``unit`` (``%`` or empty), and the values of the ``target`` and of the ``other`` latents; further
entries are JSON-able details."""
