"""Total correlation of the latents, estimated from a batch: the term of β-TCVAE."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.ranges import NonNegative
from guided.vae import Posterior

Estimator = Literal["stratified", "weighted"]


@dataclass(frozen=True)
class TotalCorrelation(Guidance):
    """Penalises the total correlation of the latents, KL(q(z) ‖ Π_d q(z_d)).

    Source: Chen et al. (2018), arXiv:1802.04942: β-TCVAE. Beside the ELBO, a ``weight`` of β - 1 is
    the paper's objective with α = γ = 1; with :class:`DeformablePCA` it is Guided-β-TCVAE of the
    Guided-VAE paper (Ding et al., CVPR 2020). It has no latents of its own.

    q(z), the average of q(z|x) over the N training images, is estimated at each draw from the batch
    of images that it belongs to. ``weighted`` (appendix C.1): the mean over the batch, divided by
    N; the term is too high, by (latents - 1) log N nats and more, but for its gradient that does
    not count. ``stratified`` (appendix C.2): the draw's own image counts 1/N, the others the rest.

    Differs from the paper: there, one of the other images, any, has another weight than all the
    rest; here they share it equally, the mean over all choices. It is as unbiased, and exact for a
    batch of all images. The views of an image are batches of their own.

    Args:
        weight: of the term, >= 0.
        estimator: of log q(z).

    Raises:
        InputError: a negative weight.
    """

    weight: NonNegative = 5.0
    estimator: Estimator = "stratified"

    def build(self, context: GuidanceContext) -> "TotalCorrelationModule":
        return TotalCorrelationModule(self, context)


class TotalCorrelationModule(GuidanceModule):
    """The term of :class:`TotalCorrelation`."""

    def __init__(self, settings: TotalCorrelation, context: GuidanceContext) -> None:
        super().__init__()
        if context.n_images is None:
            raise InputError("TotalCorrelation: the number of training images is not known")
        self.settings, self.views, self.n_images = settings, context.views, context.n_images

    @property
    def weights(self) -> Mapping[str, float]:
        return {"total_correlation": self.settings.weight}

    @property
    def reads_variance(self) -> bool:
        return True

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        parts = (t.chunk(self.views) for t in (z, posterior.mean, posterior.logvar))
        terms = [
            total_correlation(draw, Posterior(mean, logvar), self.n_images, self.settings.estimator)
            for draw, mean, logvar in zip(*parts, strict=True)
        ]
        return {"total_correlation": torch.stack(terms).mean()}


def total_correlation(
    z: Tensor, posterior: Posterior, n_images: int, estimator: Estimator = "stratified"
) -> Tensor:
    """The estimated total correlation of latents, a scalar in nats.

    Args:
        z: a draw for each image, ``[B, d]``.
        posterior: of the same images.
        n_images: N, in the set that the batch was drawn from.
        estimator: see :class:`TotalCorrelation`.
    """
    posterior = posterior.precise()
    mean, logvar = posterior.mean, posterior.logvar
    # log q(z_id | x_j), [B, B, d].
    squares = (z[:, None] - mean).square() * (-logvar).exp()
    densities = -0.5 * (squares + logvar + math.log(2 * math.pi))
    weights = log_weights(len(z), n_images, estimator, z.device).to(mean.dtype)
    joint = (densities.sum(2) + weights).logsumexp(1)
    marginals = (densities + weights[..., None]).logsumexp(1)
    return (joint - marginals.sum(1)).mean()


def log_weights(
    batch: int, n_images: int, estimator: Estimator, device: torch.device | None = None
) -> Tensor:
    """The log weight of each image's posterior, in a row for each draw, ``[B, B]``.

    The weights of a row sum to 1, or to 1 / N with ``weighted``.
    """
    if estimator == "weighted":
        return torch.full((batch, batch), -math.log(batch * n_images), device=device)
    # N is at least the batch: a repeated image is another draw of the data.
    own = 1 / max(n_images, batch)
    others = math.log1p(-own) - math.log(batch - 1)
    return torch.full((batch, batch), others, device=device).fill_diagonal_(math.log(own))
