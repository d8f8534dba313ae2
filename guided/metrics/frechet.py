"""How far one set of images is from another, seen through a network's features."""

import torch
from torch import Tensor, nn

from guided.encoder import Encoder


class FrechetDistance:
    """The Fréchet distance of features to those of fixed real images.

    Source: Heusel et al. (2017), arXiv:1706.08500, eq. 6: ``‖μ - μ'‖² + Tr(Σ + Σ' - 2 (Σ Σ')^½)``,
    by torchmetrics. FID proper takes Inception's features; distances on others compare only with
    distances on the same ones.

    Args:
        features: images to features ``[B, d]``.
        real: what sets of images are compared with, ``[N, C, H, W]``, uint8 or float in [0, 1], on
            the device of ``features``.
        batch_size: images at a time.
    """

    def __init__(self, features: Encoder, real: Tensor, batch_size: int = 1000) -> None:
        # Here: its import takes seconds.
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.batch_size = batch_size
        network = _Features(features.eval())
        self._metric = FrechetInceptionDistance(network, reset_real_features=False).to(real.device)
        self._update(real, real=True)

    def __call__(self, images: Tensor) -> float:
        """The distance of images ``[M, C, H, W]``, M at least 2."""
        self._metric.reset()
        self._update(images, real=False)
        return max(0.0, float(self._metric.compute()))  # not a rounding error below

    @torch.no_grad()
    def _update(self, images: Tensor, *, real: bool) -> None:
        for batch in images.split(self.batch_size):
            self._metric.update(batch, real=real)


class _Features(nn.Module):
    """A network as torchmetrics takes it: with the number of its features, else it would guess."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network, self.num_features = network, network.out_dim

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)
