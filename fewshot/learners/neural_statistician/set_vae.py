"""A variational autoencoder of sets: one context for a set, one latent for each image in it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guided.encoder import Encoder
from guided.likelihoods import Bernoulli
from guided.vae import Posterior


@dataclass(frozen=True)
class SetTerms:
    """Terms of the negative ELBO of S sets, and the contexts that they were computed from.

    Attributes:
        reconstruction: -log p(x | z, c), nats per image, a scalar.
        kl_latent: KL(q(z | x, c) ‖ p(z | c)), nats per image, a scalar.
        kl_context: KL(q(c | D) ‖ p(c)) of a set over its number of images, nats, a scalar.
        context: one draw from q(c | D), ``[S, context_dim]``.
    """

    reconstruction: Tensor
    kl_latent: Tensor
    kl_context: Tensor
    context: Tensor


class SetVAE(nn.Module):
    """The model of the Neural Statistician, on features of images.

    Source: Edwards & Storkey (2017), arXiv:1606.02185, equation 5 and figure 1 (right): p(c) is
    standard normal, p(z_L | c), p(z_l | z_{l+1}, c) and p(x | z_1 … z_L, c).

    Differs from the paper: fully connected networks of two layers replace those of three and the
    residual blocks; layer norm replaces batch norm, so that no set sees another.

    Args:
        encoder: gives the width of the features and the mirrored decoder.
        context_dim: width of c (512 in the paper on Omniglot).
        latent_dim: width of each z_l (16 in the paper).
        latent_layers: number of stochastic layers L (1 in the paper; 3 for faces).
        hidden: width of the fully connected layers (256 in the paper).
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        context_dim: int,
        latent_dim: int,
        latent_layers: int,
        hidden: int,
    ) -> None:
        super().__init__()
        features = encoder.out_dim
        self.before_pooling = nn.Sequential(*_layer(features, hidden))
        # One input more: the number of images that were pooled.
        self.after_pooling = _moments(hidden + 1, hidden, context_dim)
        above = [latent_dim] * (latent_layers - 1) + [0]  # no layer above the last
        self.priors = nn.ModuleList(
            _moments(context_dim + width, hidden, latent_dim) for width in above
        )
        self.posteriors = nn.ModuleList(
            _moments(features + context_dim + width, hidden, latent_dim) for width in above
        )
        self.decoder = encoder.backbone.decoder(context_dim + latent_layers * latent_dim)
        self.likelihood = Bernoulli()

    def context(self, features: Tensor, kept: Tensor | None = None) -> Posterior:
        """q(c | D): mean and log variance ``[…, context_dim]``.

        Args:
            features: features of the images of each set, ``[…, n, d]``.
            kept: mask of the images that the statistic network sees (sample dropout, §4), bool
                ``[…, n]``, at least one in a set; None: all.
        """
        instances = self.before_pooling(features)
        if kept is None:
            count = instances.new_full(instances.shape[:-2], instances.shape[-2])
            pooled = instances.mean(-2)
        else:
            count = kept.sum(-1).to(instances.dtype)
            pooled = (instances * kept.unsqueeze(-1)).sum(-2) / count.unsqueeze(-1)
        return _posterior(self.after_pooling(torch.cat([pooled, count.unsqueeze(-1)], -1)))

    def terms(
        self, images: Tensor, features: Tensor, kept: Tensor, noise: torch.Generator
    ) -> SetTerms:
        """The negative ELBO's terms for S sets of n images.

        Args:
            images: float in [0, 1], ``[S, n, C, H, W]``.
            features: features of the same images, ``[S, n, d]``.
            kept: mask of the images that the statistic network sees, bool ``[S, n]``.
            noise: generator of the draws of c and z.
        """
        n = images.shape[1]
        posterior = self.context(features, kept)
        context = posterior.sample(noise)
        each = context.repeat_interleave(n, 0)
        latents, kl = self._latents(features.flatten(0, 1), each, noise)
        decoded = self.decoder(torch.cat([*latents, each], 1))
        return SetTerms(
            self.likelihood.nll(decoded, images.flatten(0, 1)).mean(),
            kl.mean(),
            posterior.kl().sum(1).mean() / n,
            context,
        )

    def _latents(
        self, features: Tensor, context: Tensor, noise: torch.Generator
    ) -> tuple[list[Tensor], Tensor]:
        """A draw ``[S * n, latent_dim]`` of each z_l, and their summed KL ``[S * n]`` in nats."""
        latents: list[Tensor] = []
        kl = features.new_zeros(len(features))
        for prior, posterior in zip(
            reversed(list(self.priors)), reversed(list(self.posteriors)), strict=True
        ):
            above = [*latents[:1], context]
            p = _posterior(prior(torch.cat(above, 1)))
            q = _posterior(posterior(torch.cat([features, *above], 1)))
            kl = kl + divergence(q, p).sum(1)
            latents.insert(0, q.sample(noise))
        return latents, kl


def divergence(q: Posterior, p: Posterior) -> Tensor:
    """KL(q ‖ p) of diagonal Gaussians in nats per dimension, ``[…]`` as the means."""
    ratio = (q.logvar - p.logvar).exp()
    distance = (q.mean - p.mean).square() * (-p.logvar).exp()
    return 0.5 * (ratio + distance - 1 + p.logvar - q.logvar)


def pairwise_divergence(q: Posterior, p: Posterior) -> Tensor:
    """KL(q_i ‖ p_j) of every pair, summed over dimensions.

    Args:
        q: ``[E, r, d]`` each.
        p: ``[E, s, d]`` each.

    Returns:
        ``[E, s, r]``. The quadratic forms are two products of matrices.
    """
    precision = (-p.logvar).exp()
    centre = q.mean.detach().mean(1, keepdim=True)  # a common offset would only cost precision
    of_q, of_p = q.mean - centre, p.mean - centre
    second_moment = (q.logvar.exp() + of_q.square()).transpose(1, 2)
    cross = (of_p * precision) @ of_q.transpose(1, 2)
    own = (of_p.square() * precision + p.logvar).sum(2).unsqueeze(2)
    entropy = (1 + q.logvar).sum(2).unsqueeze(1)
    return 0.5 * (precision @ second_moment - 2 * cross + own - entropy)


def _moments(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A network whose output is means, then log variances."""
    return nn.Sequential(
        *_layer(inputs, hidden), *_layer(hidden, hidden), nn.Linear(hidden, 2 * outputs)
    )


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.LayerNorm(outputs), nn.ELU()]


def _posterior(moments: Tensor) -> Posterior:
    return Posterior(*moments.chunk(2, -1))
