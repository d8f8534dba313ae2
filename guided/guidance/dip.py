"""Decorrelated latents of unit variance: the terms of DIP-VAE."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.ranges import NonNegative
from guided.vae import Posterior


@dataclass(frozen=True)
class DIP(Guidance):
    """Pulls the covariance of the latents towards that of the prior, the unit matrix.

    Source: Kumar et al. (2018), arXiv:1711.00848: ``λ_od Σ_{i≠j} C_ij²`` and
    ``λ_d Σ_i (C_ii - 1)²``. C is the covariance over images of the posterior's means (DIP-VAE-I),
    or that of its draws, to which the mean variance of the posterior adds (DIP-VAE-II). It has no
    latents of its own.

    C is that of the batch of B images (divided by B - 1), whose off-diagonal entries are not 0 for
    independent latents: the first term is then about latents · (latents - 1) / B.

    Args:
        variant: ``I`` or ``II``.
        off_diagonal: λ_od, >= 0; the paper has 1 to 500, depending on the data.
        diagonal: λ_d, >= 0; the paper has 10 λ_od for I, and λ_od for II.

    Raises:
        InputError: a negative weight.
    """

    variant: Literal["I", "II"] = "II"
    off_diagonal: NonNegative = 10.0
    diagonal: NonNegative = 10.0

    def build(self, context: GuidanceContext) -> "DIPModule":
        return DIPModule(self)


class DIPModule(GuidanceModule):
    """The terms of :class:`DIP`."""

    def __init__(self, settings: DIP) -> None:
        super().__init__()
        self.settings = settings

    @property
    def weights(self) -> Mapping[str, float]:
        return {
            "dip_off_diagonal": self.settings.off_diagonal,
            "dip_diagonal": self.settings.diagonal,
        }

    @property
    def reads_variance(self) -> bool:
        return self.settings.variant == "II"

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        posterior = posterior.precise()
        # Autocast would round the products: the entries are compared with 0 and 1.
        with torch.autocast(z.device.type, enabled=False):
            covariance = posterior.mean.T.cov()
        variances = covariance.diagonal()
        off_diagonal = covariance.square().sum() - variances.square().sum()
        if self.settings.variant == "II":
            variances = variances + posterior.logvar.exp().mean(0)
        diagonal = (variances - 1).square().sum()
        return {"dip_off_diagonal": off_diagonal, "dip_diagonal": diagonal}
