"""The few-shot literature's four convolutions."""

from typing import Literal

from torch import Tensor, nn

from guided.backbones.base import Backbone, ChannelsLast, ImageShape, upsampling
from guided.backbones.batch_norm import BatchNorm2d
from guided.errors import InputError
from guided.ranges import Count


class Conv4(Backbone):
    """Four 3×3 convolutions with batch norm and ReLU: the few-shot literature's Conv4-64.

    Source: Vinyals et al. (2016), arXiv:1606.04080, §4.1.1, which pools; MAML (Finn et al. 2017,
    arXiv:1703.03400, §5.2) strides on Omniglot.

    Args:
        input_shape: (C, H, W) of the images; H and W at least 16 when pooled.
        width: channels of every block.
        downsample: halve each block's output by ``stride`` (rounding up: 28 → 2) or by max
            ``pool`` (rounding down: 28 → 1).
        decoder_norm: batch norm in the decoder, or none, so that it treats each image on its own
            also in training; biases take its place.

    Raises:
        InputError: the images are too small.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        width: Count = 64,
        downsample: Literal["stride", "pool"] = "stride",
        decoder_norm: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__(input_shape, width=width, downsample=downsample)
        if decoder_norm != "batch":  # a default would change the digest of every older encoder
            self.settings["decoder_norm"] = decoder_norm
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

    def maps(self, images: Tensor) -> Tensor:
        """Activations of the third block, before it pools, ``[B, width, H', W']``: of 28×28 images
        7×7, strided 4×4."""
        per_block = len(self.body) // 4
        found: Tensor = self.body[: 2 * per_block + 3](images)
        return found

    def decoder(self, latent_dim: int) -> nn.Module:
        width = self.settings["width"]
        height, columns = self.sizes[-1]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, self.feature_dim),
            nn.Unflatten(1, (width, height, columns)),
            ChannelsLast(),
        ]
        steps = list(zip(self.sizes[:0:-1], self.sizes[-2::-1], strict=True))
        normed = self.settings.get("decoder_norm", "batch") == "batch"
        for before, after in steps[:-1]:
            layers.append(upsampling(width, width, before, after, bias=not normed))
            layers += [BatchNorm2d(width)] if normed else []
            layers.append(nn.ReLU(inplace=True))
        layers.append(upsampling(width, self.input_shape[0], *steps[-1], bias=True))
        return nn.Sequential(*layers)


def _block(channels: int, width: int, downsample: str) -> list[nn.Module]:
    stride = 2 if downsample == "stride" else 1
    # No bias: batch norm would subtract it.
    block: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    return [*block, nn.MaxPool2d(2)] if downsample == "pool" else block
