"""The Fréchet distance between sets of images."""

import torch
from torch import Tensor, nn

from guided.encoder import Encoder


class FrechetDistance:
    """The Fréchet distance between features of images and those of fixed real images.

    Source: Heusel et al. (2017), arXiv:1706.08500, eq. 6: ``‖μ - μ'‖² + Tr(Σ + Σ' - 2 (Σ Σ')^½)``,
    by torchmetrics. The usual FID takes Inception's features; distances are comparable only
    between the same features.

    Args:
        features: images to features ``[B, d]``.
        real: the real images, ``[N, C, H, W]``, uint8 or float in [0, 1], on the device of
            ``features``.
        batch_size: images at a time.
    """

    def __init__(self, features: Encoder, real: Tensor, batch_size: int = 1000) -> None:
        # Imported here: it takes seconds.
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.batch_size = batch_size
        network = _Features(features.eval())
        self._metric = FrechetInceptionDistance(network, reset_real_features=False).to(real.device)
        self._update(real, real=True)

    def __call__(self, images: Tensor) -> float:
        """The distance of images ``[M, C, H, W]``, M at least 2."""
        self._metric.reset()
        self._update(images, real=False)
        return max(0.0, float(self._metric.compute()))  # a rounding error may be negative

    @torch.no_grad()
    def _update(self, images: Tensor, *, real: bool) -> None:
        for batch in images.split(self.batch_size):
            self._metric.update(batch, real=real)


class _Features(nn.Module):
    """A network with ``num_features``, which torchmetrics would find out by running it."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network, self.num_features = network, network.out_dim

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)
