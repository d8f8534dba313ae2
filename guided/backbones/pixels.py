"""Pixels as features: the control without a network."""

from torch import Tensor, nn

from guided.backbones.base import Backbone, ImageShape
from guided.errors import InputError


class Pixels(Backbone):
    """The identity: features are the pixels. A control that cannot be pretrained."""

    def __init__(self, input_shape: ImageShape) -> None:
        super().__init__(input_shape)
        channels, height, width = input_shape
        self.feature_dim = channels * height * width

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError("Pixels: has no decoder and cannot be pretrained; choose another backbone")
