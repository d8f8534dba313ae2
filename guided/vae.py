"""The variational autoencoder and the ELBO's terms."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guided.backbones import Backbone
from guided.encoder import Encoder
from guided.latents import LatentLayout
from guided.likelihoods import Likelihood


@dataclass(frozen=True)
class Posterior:
    """q(z|x): a diagonal Gaussian for each image.

    Attributes:
        mean: ``[B, latent_dim]``.
        logvar: log variance, ``[B, latent_dim]``.
    """

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One reparameterised draw, ``[B, latent_dim]`` (Kingma & Welling 2014, §2.4)."""
        noise = torch.randn(
            self.mean.shape,
            generator=generator,
            device=self.mean.device,
            dtype=self.mean.dtype,
        )
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, 1)) in nats per latent, ``[B, latent_dim]`` (ibid., appendix B)."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar)

    def precise(self) -> "Posterior":
        """The same in at least single precision, for sums that bfloat16 would round."""
        return Posterior(precise(self.mean), precise(self.logvar))


def precise(values: Tensor) -> Tensor:
    """The values in at least single precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class VAE(nn.Module):
    """An encoder, the decoder that mirrors it, and a likelihood.

    Source: Kingma & Welling (2014), arXiv:1312.6114.

    Args:
        backbone: the encoder's body; makes its own decoder.
        layout: names of the latents.
        likelihood: p(x|z).
    """

    def __init__(self, backbone: Backbone, layout: LatentLayout, likelihood: Likelihood) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, layout)
        self.decoder = backbone.decoder(layout.latent_dim)
        self.likelihood = likelihood
        self.to(memory_format=torch.channels_last)

    @property
    def layout(self) -> LatentLayout:
        """The names of the latents."""
        layout = self.encoder.layout
        assert layout is not None
        return layout

    def posterior(self, images: Tensor) -> Posterior:
        """q(z|x) of images ``[B, C, H, W]``, uint8 or float in [0, 1]."""
        return Posterior(*self.encoder.moments(images))

    def decode(self, z: Tensor) -> Tensor:
        """The expected images ``[B, C, H, W]`` of latents ``[B, latent_dim]``."""
        return self.likelihood.mean(self.decoder(z))

    def losses(self, images: Tensor, posterior: Posterior, z: Tensor) -> dict[str, Tensor]:
        """The negative ELBO's two terms, nats per image, averaged over the batch.

        Args:
            images: float in [0, 1], ``[B, C, H, W]``.
            posterior: q(z|x) of these images.
            z: a draw from it, ``[B, latent_dim]``.
        """
        return {
            "reconstruction": self.reconstruction(images, z),
            "kl": posterior.precise().kl().sum(1).mean(),
        }

    def reconstruction(self, images: Tensor, z: Tensor) -> Tensor:
        """-log p(x|z), a scalar: nats per image, averaged over the batch; see :meth:`losses`."""
        return self.likelihood.nll(precise(self.decoder(z)), images).mean()
