"""Encoders, each with the decoder that mirrors it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guided.errors import InputError
from guided.normalisation import BatchNorm1d, BatchNorm2d

ImageShape = tuple[int, int, int]
"""(C, H, W)."""


class Backbone(nn.Module, ABC):
    """Images ``[B, C, H, W]`` in [0, 1] to features ``[B, feature_dim]``.

    Args:
        input_shape: (C, H, W) of the images.
        settings: the subclass's own keyword arguments, kept so that a checkpoint can rebuild it.
    """

    feature_dim: int

    def __init__(self, input_shape: ImageShape, **settings: Any) -> None:
        super().__init__()
        self.input_shape: ImageShape = input_shape
        self.settings = settings

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor: ...

    @abstractmethod
    def decoder(self, latent_dim: int) -> nn.Module:
        """A new module from latents ``[B, latent_dim]`` to ``[B, C, H, W]``, unbounded."""


BackboneFactory = Callable[[ImageShape], Backbone]


class Conv4(Backbone):
    """Four 3×3 convolutions with batch norm and ReLU: the few-shot literature's Conv4-64.

    Source: Vinyals et al. (2016), arXiv:1606.04080, §4.1.1, which pools; MAML (Finn et al. 2017,
    arXiv:1703.03400, §5.2) strides on Omniglot.

    Args:
        input_shape: (C, H, W) of the images; H and W at least 16 when pooled.
        width: channels of every block.
        downsample: halve each block's output by ``stride`` (rounding up: 28 → 2) or by max
            ``pool`` (rounding down: 28 → 1).
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        width: int = 64,
        downsample: Literal["stride", "pool"] = "stride",
    ) -> None:
        super().__init__(input_shape, width=width, downsample=downsample)
        channels, *size = input_shape
        self.sizes = [tuple(size)]
        blocks: list[nn.Module] = []
        for _ in range(4):
            blocks += _block(channels, width, downsample)
            size = [n // 2 if downsample == "pool" else (n + 1) // 2 for n in size]
            self.sizes.append(tuple(size))
            channels = width
        if min(size) < 1:
            raise InputError(f"Conv4: images of {input_shape[1:]} are too small to pool four times")
        self.body = nn.Sequential(*blocks)
        self.feature_dim = width * size[0] * size[1]

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        width = self.settings["width"]
        height, columns = self.sizes[-1]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, self.feature_dim),
            nn.Unflatten(1, (width, height, columns)),
            _ChannelsLast(),
        ]
        steps = list(zip(self.sizes[:0:-1], self.sizes[-2::-1], strict=True))
        for before, after in steps[:-1]:
            layers += [
                _upsample(width, width, before, after, bias=False),
                BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        layers.append(_upsample(width, self.input_shape[0], *steps[-1], bias=True))
        return nn.Sequential(*layers)


def _block(channels: int, width: int, downsample: str) -> list[nn.Module]:
    stride = 2 if downsample == "stride" else 1
    # No bias: batch norm subtracts it again.
    block: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    return [*block, nn.MaxPool2d(2)] if downsample == "pool" else block


def _upsample(
    channels: int, width: int, before: tuple[int, ...], after: tuple[int, ...], bias: bool
) -> nn.Module:
    """The 3×3 stride-2 transposed convolution that maps one size exactly to the other.

    It makes ``2 n - 1 + extra`` of n with padding 1, and ``2 n + 1`` (what pooling rounded away)
    with padding 0.
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


class _ChannelsLast(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.contiguous(memory_format=torch.channels_last)


class GuidedVAENet(Backbone):
    """The MNIST network of the Guided-VAE authors' repository: no norm, 28 → 12 → 8 → 4.

    Source: ``unGuidedVAE`` of github.com/mlpc-ucsd/Guided-VAE (the first convolution has no
    activation there either).

    Args:
        input_shape: (1 or 3, 28, 28).
        width: channels of the first layer (64 there), doubled twice.
    """

    def __init__(self, input_shape: ImageShape, *, width: int = 64) -> None:
        super().__init__(input_shape, width=width)
        channels, *size = input_shape
        if size != [28, 28]:
            raise InputError(f"GuidedVAENet: made for 28×28 images, got {size[0]}×{size[1]}")
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 6, stride=2),
            nn.Conv2d(width, 2 * width, 5),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 5),
            nn.ReLU(inplace=True),
        )
        self.feature_dim = 4 * width * 4 * 4

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        width = self.settings["width"]
        return nn.Sequential(
            nn.Linear(latent_dim, self.feature_dim),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (4 * width, 4, 4)),
            _ChannelsLast(),
            nn.ConvTranspose2d(4 * width, 2 * width, 5),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * width, width, 5),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width, self.input_shape[0], 6, stride=2),
        )


class Dense(Backbone):
    """Fully connected layers with batch norm and ReLU: the other network of Omniglot's literature.

    Source: Santoro et al. (2016), arXiv:1605.06065, as MAML (Finn et al. 2017, §5.2) and
    learn2learn (``OmniglotFC``) have it, initial weights included: normal, cut off at two
    deviations of 0.01.

    Args:
        input_shape: (C, H, W) of the images.
        widths: of the layers.
    """

    def __init__(
        self, input_shape: ImageShape, *, widths: tuple[int, ...] = (256, 128, 64, 64)
    ) -> None:
        super().__init__(input_shape, widths=list(widths))
        if not widths or min(widths) < 1:
            raise InputError(f"Dense.widths: expected positive numbers, got {list(widths)}")
        self.pixels = input_shape[0] * input_shape[1] * input_shape[2]
        self.body = nn.Sequential(nn.Flatten(), *_layers(self.pixels, *widths))
        self.feature_dim = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def decoder(self, latent_dim: int) -> nn.Module:
        widths = self.settings["widths"][::-1]
        return nn.Sequential(
            *_layers(latent_dim, *widths),
            nn.Linear(widths[-1], self.pixels),
            nn.Unflatten(1, self.input_shape),
        )


def _layers(*widths: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        linear = nn.Linear(before, after)
        nn.init.trunc_normal_(linear.weight, std=0.01, a=-0.02, b=0.02)
        nn.init.zeros_(linear.bias)
        layers += [linear, BatchNorm1d(after, eps=1e-3), nn.ReLU(inplace=True)]
    return layers


class Pixels(Backbone):
    """No network: the features are the pixels. A control, never pretrained."""

    def __init__(self, input_shape: ImageShape) -> None:
        super().__init__(input_shape)
        channels, height, width = input_shape
        self.feature_dim = channels * height * width

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError("Pixels: has no decoder and cannot be pretrained")
