"""Embeddings that were computed elsewhere, as they are."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from guided.backbones.base import Backbone, ImageShape
from guided.errors import InputError
from guided.ranges import Whole


class Embedded(Backbone):
    """The identity on embeddings: what stands for an image is its embedding already.

    Args:
        input_shape: (d, 1, 1) for embeddings of d numbers.
        parts: name -> ``[start, stop]``, of several embeddings side by side.
    """

    def __init__(
        self, input_shape: ImageShape, *, parts: Mapping[str, Sequence[Whole]] | None = None
    ) -> None:
        places = {name: (start, stop) for name, (start, stop) in (parts or {}).items()}
        super().__init__(input_shape, parts={name: list(place) for name, place in places.items()})
        self.feature_dim = math.prod(input_shape)
        for name, (start, stop) in places.items():
            if not 0 <= start < stop <= self.feature_dim:
                raise InputError(
                    f"Embedded.parts: {name}: expected [start, stop] within the "
                    f"{self.feature_dim} numbers of an embedding, got {[start, stop]}"
                )
        self.parts = places

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError("Embedded: embeddings have no decoder; a VAE needs images")
