"""Fully connected layers."""

from itertools import pairwise

from torch import Tensor, nn

from guided.backbones.base import Backbone, ImageShape
from guided.backbones.batch_norm import BatchNorm1d
from guided.errors import InputError
from guided.ranges import Count


class Dense(Backbone):
    """Fully connected layers with batch norm and ReLU: the literature's other network for Omniglot.

    Source: Santoro et al. (2016), arXiv:1605.06065, as in MAML (Finn et al. 2017, §5.2) and
    learn2learn (``OmniglotFC``), initial weights included: normal with standard deviation 0.01,
    truncated at two of them.

    Args:
        input_shape: (C, H, W) of the images.
        widths: of the layers, each positive.
    """

    def __init__(
        self, input_shape: ImageShape, *, widths: tuple[Count, ...] = (256, 128, 64, 64)
    ) -> None:
        super().__init__(input_shape, widths=list(widths))
        if not widths:
            raise InputError("Dense.widths: at least one is needed")
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
