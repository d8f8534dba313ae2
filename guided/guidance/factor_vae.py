"""Total correlation of the latents by a discriminator: the term of FactorVAE."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import InputError
from guided.guidance.adversary import frozen_logits
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.ranges import Count, NonNegative
from guided.vae import Posterior


@dataclass(frozen=True)
class FactorVAE(Guidance):
    """Penalises the total correlation of the latents, as a discriminator estimates it.

    Source: Kim & Mnih (2018), arXiv:1802.05983, §3. The discriminator, an adversary with an
    optimizer of its own, learns to tell draws from q(z) and from the product of its marginals;
    its log-odds, averaged over the batch, estimate KL(q(z) ‖ Π_d q(z_d)). It has no latents of its
    own.

    Differs from the paper: the product's draws are made of the batch itself, not of another, and
    without random numbers: the d-th latent of each comes from the d-th image before it, of a batch
    in random order; ``shuffle: false`` of the training spoils that. The discriminator is smaller by
    default (there: six layers of 1,000, at a learning rate of 1e-4, with Adam's β₁ at 0.5).

    Args:
        weight: γ, >= 0, beside the ELBO.
        hidden: width of the discriminator's hidden layers.
        layers: number of them.

    Raises:
        InputError: a setting is out of its range.
    """

    weight: NonNegative = 10.0
    hidden: Count = 256
    layers: Count = 3

    def build(self, context: GuidanceContext) -> "FactorVAEModule":
        return FactorVAEModule(self, context)


class FactorVAEModule(GuidanceModule):
    """The discriminator of :class:`FactorVAE`, and its term."""

    def __init__(self, settings: FactorVAE, context: GuidanceContext) -> None:
        super().__init__()
        self.settings, self.views = settings, context.views
        widths = [context.latent_dim, *[settings.hidden] * settings.layers]
        layers: list[nn.Module] = []
        for before, width in pairwise(widths):
            layers += [nn.Linear(before, width), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    @property
    def weights(self) -> Mapping[str, float]:
        return {"factor_vae": self.settings.weight}

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"factor_vae": frozen_logits(self.discriminator, z).mean()}

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``discriminator/factor_vae``: its cross-entropy, log 2 if it knows nothing."""
        images = len(z) // self.views
        if images < z.shape[1]:
            raise InputError(
                f"FactorVAE: needs a batch_size of at least the {z.shape[1]} latents, got {images}"
            )
        z = z.detach()
        joint, product = self.discriminator(z), self.discriminator(independent(z))
        # -log D(joint) and -log(1 - D(product)).
        loss = F.softplus(-joint).mean() + F.softplus(product).mean()
        return {"discriminator/factor_vae": 0.5 * loss}

    def adversary_parameters(self) -> Iterable[nn.Parameter]:
        return self.discriminator.parameters()


def independent(z: Tensor) -> Tensor:
    """Draws of the product of the marginals: the d-th latent of each row is that of d rows before.

    Args:
        z: draws of different images in random order, ``[B, d]``, d at most B.
    """
    rows, latents = (torch.arange(n, device=z.device) for n in z.shape)
    return z.gather(0, (rows[:, None] - latents) % len(z))
