"""The network of the Guided-VAE authors on MNIST."""

from torch import Tensor, nn

from guided.backbones.base import Backbone, ChannelsLast, ImageShape
from guided.errors import InputError
from guided.ranges import Count


class GuidedVAENet(Backbone):
    """The MNIST network of the Guided-VAE authors' repository: no norm, 28 → 12 → 8 → 4.

    Source: ``unGuidedVAE`` of github.com/mlpc-ucsd/Guided-VAE (the first convolution has no
    activation there either).

    Args:
        input_shape: (1 or 3, 28, 28).
        width: channels of the first layer (64 there), doubled twice.
    """

    def __init__(self, input_shape: ImageShape, *, width: Count = 64) -> None:
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
            ChannelsLast(),
            nn.ConvTranspose2d(4 * width, 2 * width, 5),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * width, width, 5),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width, self.input_shape[0], 6, stride=2),
        )
