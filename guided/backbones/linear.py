"""A fixed affine map of the pixels."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from guided.backbones.base import Backbone, ImageShape
from guided.errors import InputError
from guided.ranges import Count


class Linear(Backbone):
    """An affine map of the pixels that no gradient changes; a training computes it.

    Args:
        input_shape: (C, H, W) of the images.
        features: of the output, at least 1.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, input_shape: ImageShape, *, features: Count = 64) -> None:
        super().__init__(input_shape, features=features)
        channels, height, width = input_shape
        self.feature_dim = features
        self.register_buffer("weight", torch.zeros(features, channels * height * width))
        self.register_buffer("bias", torch.zeros(features))

    def forward(self, images: Tensor) -> Tensor:
        return linear(images.flatten(1), self.weight, self.bias)

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError("Linear: has no decoder and cannot be pretrained; choose another backbone")
