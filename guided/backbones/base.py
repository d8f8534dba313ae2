"""The base class of backbones: an encoder's body, and the decoder that mirrors it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from guided.errors import InputError
from guided.ranges import Checked, Count

ImageShape = tuple[Count, Count, Count]
"""(C, H, W)."""


class Backbone(Checked, nn.Module, ABC):
    """A network from images ``[B, C, H, W]`` in [0, 1] to features ``[B, feature_dim]``.

    A subclass sets ``feature_dim`` and implements ``forward`` and :meth:`decoder`.

    Attributes:
        feature_dim: number of features.
        parts: names of ranges of features, name -> (start, stop); none unless it says so.

    Args:
        input_shape: (C, H, W) of the images.
        settings: the subclass's own keyword arguments, from which an encoder file rebuilds it.
    """

    feature_dim: int
    parts: Mapping[str, tuple[int, int]] = MappingProxyType({})

    def __init__(self, input_shape: ImageShape, **settings: Any) -> None:
        super().__init__()
        self.input_shape: ImageShape = input_shape
        self.settings = settings

    @classmethod
    def rebuilt(cls, input_shape: ImageShape, settings: dict[str, Any]) -> Self:
        """The network of an encoder file, whose weights are loaded afterwards.

        Args:
            input_shape: (C, H, W) of the images.
            settings: those in the file.
        """
        return cls(input_shape, **settings)

    @property
    def batch_size(self) -> int:
        """Images that are embedded at a time."""
        return 1024

    @classmethod
    def code(cls, settings: Mapping[str, Any]) -> str:
        """The code, besides this package's own, that features depend on: a version or a digest.

        Args:
            settings: of a network.
        """
        return ""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor: ...

    @abstractmethod
    def decoder(self, latent_dim: int) -> nn.Module:
        """A new module from latents ``[B, latent_dim]`` to ``[B, C, H, W]``, unbounded."""

    def maps(self, images: Tensor) -> Tensor:
        """Features in the middle of the network that still have places, ``[B, F, H', W']``.

        Args:
            images: as for ``forward``.

        Raises:
            InputError: this backbone has none.
        """
        raise InputError(f"{type(self).__name__}: has no feature maps to match; Conv4 has")

    def variance_ratios(self, images: Tensor) -> list[float]:
        """Each latent's variance over images by that of its inference; empty unless it infers.

        A sign of posterior collapse, as of :func:`guided.metrics.collapse.image_to_chain_variance`.

        Args:
            images: held out, uint8 ``[N, C, H, W]``.
        """
        return []


BackboneFactory = Callable[[ImageShape], Backbone]


def upsampling(
    channels: int, width: int, before: tuple[int, ...], after: tuple[int, ...], bias: bool
) -> nn.Module:
    """The 3×3 stride-2 transposed convolution that maps one size exactly to the other.

    From size n it makes ``2 n - 1 + extra`` with padding 1, and ``2 n + 1`` (the pixel that
    pooling dropped) with padding 0.
    """
    padding = [1 if b <= 2 * a else 0 for a, b in zip(before, after, strict=True)]
    extra = [b - 2 * a + 1 if p else 0 for a, b, p in zip(before, after, padding, strict=True)]
    return nn.ConvTranspose2d(
        channels,
        width,
        3,
        stride=2,
        padding=(padding[0], padding[1]),
        output_padding=(extra[0], extra[1]),
        bias=bias,
    )


class ChannelsLast(nn.Module):
    """Converts features to the memory layout in which convolutions are fastest."""

    def forward(self, features: Tensor) -> Tensor:
        return features.contiguous(memory_format=torch.channels_last)
