"""The few-shot literature's residual network for natural images."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.backbones.base import Backbone, ChannelsLast, ImageShape, upsampling
from guided.backbones.batch_norm import BatchNorm2d
from guided.errors import InputError
from guided.ranges import Count, Range
from guided.seeds import generator


class ResNet12(Backbone):
    """Four residual blocks of three 3×3 convolutions, each block pooled; DropBlock behind each.

    Source: Lee et al. (2019), arXiv:1904.03758 (MetaOptNet), §4.1 and the authors' code: leaky
    ReLU of slope 0.1, dropout in the first two blocks, DropBlock in the others.

    Differs from the authors' code: blocks drop at a constant rate (there it rises over 20,000
    steps); features are averaged over positions, as in later work, unless ``average`` is off.

    Args:
        input_shape: (C, H, W) of the images; H and W at least 16.
        widths: channels of the four blocks.
        drop: share of the features that is dropped in training; 0: none.
        block_size: side of what DropBlock drops (5 there), in the last two blocks; in the first
            two, and where the features are smaller, single positions.
        average: features are means over positions (640), not all positions (16,000 of 84×84).
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        widths: tuple[Count, Count, Count, Count] = (64, 160, 320, 640),
        drop: Annotated[float, Range(0, below=1)] = 0.1,
        block_size: Count = 5,
        average: bool = True,
    ) -> None:
        super().__init__(
            input_shape, widths=list(widths), drop=drop, block_size=block_size, average=average
        )
        channels, *size = input_shape
        if min(size) < 16:
            raise InputError(f"ResNet12: images of {input_shape[1:]} are too small to pool 4 times")
        self.sizes = [tuple(size)]
        blocks: list[nn.Module] = []
        for i, width in enumerate(widths):
            blocks.append(_Block(channels, width))
            if drop:
                blocks.append(DropBlock(drop, block_size if i >= 2 else 1))
            channels, size = width, [n // 2 for n in size]
            self.sizes.append(tuple(size))
        self.body = nn.Sequential(*blocks)
        self.average = average
        self.feature_dim = widths[-1] * (1 if average else size[0] * size[1])

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features.mean((2, 3)) if self.average else features.flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        first, second, third, last = self.settings["widths"]
        height, columns = self.sizes[-1]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, last * height * columns),
            nn.Unflatten(1, (last, height, columns)),
            ChannelsLast(),
        ]
        channels = last
        steps = list(zip(self.sizes[:0:-1], self.sizes[-2::-1], strict=True))
        for width, (before, after) in zip((third, second, first), steps, strict=False):
            layers += [
                upsampling(channels, width, before, after, bias=False),
                BatchNorm2d(width),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                BatchNorm2d(width),
                nn.LeakyReLU(0.1, inplace=True),
            ]
            channels = width
        layers.append(upsampling(channels, self.input_shape[0], *steps[-1], bias=True))
        return nn.Sequential(*layers)


class _Block(nn.Module):
    """Three convolutions beside a 1×1 one; their sum, pooled by its maximum."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(3):
            before = channels if i == 0 else width
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), BatchNorm2d(width)]
            if i < 2:
                layers.append(nn.LeakyReLU(0.1, inplace=True))
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        both = self.body(features) + self.shortcut(features)
        return F.max_pool2d(F.leaky_relu_(both, 0.1), 2)


class DropBlock(nn.Module):
    """Drops whole squares of a feature map, in training, and scales the rest up.

    Source: Ghiasi et al. (2018), arXiv:1810.12890, algorithm 1. torchvision's draws from the global
    generator; this one's n-th mask is a function of a seed, drawn with the weights, and of n; both
    are kept with the weights: a resumed training sees the same masks.

    Args:
        drop: the share dropped, in [0, 1), but for overlaps.
        block_size: side of a square; smaller where the map is smaller.
    """

    calls: Tensor
    noise_seed: Tensor

    def __init__(self, drop: float, block_size: int) -> None:
        super().__init__()
        self.drop, self.block_size = drop, block_size
        self.register_buffer("noise_seed", torch.randint(2**31, ()))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        kept = self._kept(features)
        self.calls += 1
        return features * kept * (kept.numel() / kept.sum().clamp_min(1))

    def _kept(self, features: Tensor) -> Tensor:
        """1 where a feature stays, ``[B, C, H, W]``."""
        batch, channels, height, width = features.shape
        side = min(self.block_size, height, width)
        corners = (height - side + 1) * (width - side + 1)
        rate = self.drop * height * width / (side**2 * corners)
        seed, calls = int(self.noise_seed), int(self.calls)
        noise = generator(seed, "drop block", calls, device=features.device)
        shape = (batch, channels, height - side + 1, width - side + 1)
        corner = torch.rand(shape, generator=noise, device=features.device) < rate
        # A square covers every position from which its corner is less than a side away.
        padded = F.pad(corner.to(features.dtype), [side - 1] * 4)
        return 1 - F.max_pool2d(padded, side, stride=1)
