"""A VAE and its guidances as one module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guided.backbones import BackboneFactory, ImageShape
from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.latents import LatentAllocator
from guided.likelihoods import Likelihood
from guided.ranges import Checked, Count, NonNegative
from guided.seeds import seeded_initialisation
from guided.vae import VAE, Posterior

NO_NOISE = -20.0
"""Log variance of an autoencoder's codes, which are not drawn: a standard deviation of 5e-5."""


@dataclass(frozen=True)
class Objective:
    """The loss terms of one batch, and the codes that they were computed from.

    Attributes:
        terms: name -> scalar, nats per image.
        weights: name -> factor of the term in :attr:`total`.
        posterior: q(z|x) of the batch.
        z: the draw that the terms used, of an autoencoder the mean, ``[B, latent_dim]``.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    posterior: Posterior
    z: Tensor

    @property
    def total(self) -> Tensor:
        """The weighted sum that the main optimizer minimises."""
        return torch.stack([self.weights[name] * term for name, term in self.terms.items()]).sum()


class GuidedVAE(Checked, nn.Module):
    """A VAE whose latents are shaped by any number of guidances; with none, a plain VAE.

    Args:
        backbone: makes the encoder's body.
        likelihood: p(x|z).
        latent_dim: number of latents; the guidances reserve slices in their order.
        guidance: settings of the strategies.
        input_shape: (C, H, W) of the images.
        categories: attribute -> number of values, for supervised guidance.
        kl_weight: β of β-VAE (Higgins et al. 2017); 1 is the ELBO.
        views: differently deformed copies of each image in a training batch.
        known: deformations whose amounts the targets hold.
        n_images: in the training set, for guidance that needs it.
        factors: quantity -> mean and standard deviation in the training set.
        elbo: false: train by the guidance's terms alone; nothing is decoded then.
        autoencoder: decode the posterior mean, and leave out the KL term: no VAE, but an
            autoencoder of the same network, from the same initial weights.

    Raises:
        InputError: the guidances do not fit the model, the data or each other.
    """

    def __init__(
        self,
        *,
        backbone: BackboneFactory,
        likelihood: Likelihood,
        latent_dim: Count,
        guidance: Sequence[Guidance],
        input_shape: ImageShape,
        categories: Mapping[str, int],
        kl_weight: NonNegative = 1.0,
        views: Count = 1,
        known: tuple[str, ...] = (),
        n_images: Count | None = None,
        factors: Mapping[str, tuple[float, float]] | None = None,
        elbo: bool = True,
        autoencoder: bool = False,
    ) -> None:
        super().__init__()
        context = GuidanceContext(
            input_shape,
            LatentAllocator(latent_dim),
            categories,
            views,
            known,
            n_images,
            factors or {},
        )
        body = backbone(input_shape)
        # From a random stream of their own: the VAE's initial weights are the same with any
        # guidance, so that the arms of one seed differ in nothing else.
        with seeded_initialisation(torch.initial_seed(), "guidance"):
            modules = [_settings(entry).build(context) for entry in guidance]
        self.vae = VAE(body, context.latents.layout(), likelihood)
        self.guidance = nn.ModuleList(modules)
        for strategy in modules:
            strategy.initialise(self.vae.encoder.latent_head)
        self.kl_weight, self.elbo, self.autoencoder = kl_weight, elbo, autoencoder
        if autoencoder:
            _remove_noise(self.vae.encoder.latent_head)
        if not elbo and not modules:
            raise InputError("elbo: without it and without guidance there is nothing to train")
        for settings, strategy in zip(guidance, modules, strict=True):
            if strategy.decodes and not elbo:
                raise InputError(
                    f"elbo: {type(settings).__name__} decodes images, and without the ELBO no "
                    "decoder is trained; leave elbo true"
                )
            if strategy.reads_variance and autoencoder:
                raise InputError(
                    f"autoencoder: {type(settings).__name__} reads the posterior's variance, which "
                    "an autoencoder has none of"
                )
            if strategy.replaces_prior and (autoencoder or not elbo):
                key, wanted = ("elbo", "true") if not elbo else ("autoencoder", "false")
                raise InputError(
                    f"{key}: {type(settings).__name__} has a prior of its own, which only the "
                    f"ELBO uses; leave {key} {wanted}"
                )
        self._check_terms(modules)

    def _check_terms(self, modules: Sequence[GuidanceModule]) -> None:
        names = ["reconstruction", "kl", *(name for g in modules for name in g.weights)]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"guidance: two strategies return a term called {name!r}")

    @property
    def strategies(self) -> list[GuidanceModule]:
        return [g for g in self.guidance if isinstance(g, GuidanceModule)]

    @property
    def attributes(self) -> set[str]:
        """The attributes whose labels the guidances read."""
        return {name for g in self.strategies for name in g.attributes}

    def start_step(self, number: int) -> None:
        """Tell the guidances that a training step begins.

        Args:
            number: of the step, counted from 0.
        """
        for strategy in self.strategies:
            strategy.start_step(number)

    def objective(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        *,
        kl_warmup: float = 1.0,
        generator: torch.Generator | None = None,
        guidance_generator: torch.Generator | None = None,
    ) -> Objective:
        """All terms of one batch.

        Args:
            images: float in [0, 1], ``[B, C, H, W]``.
            targets: attribute -> int64 ``[B]``.
            kl_warmup: factor on the KL weight, 0 … 1.
            generator: of the posterior's draw.
            guidance_generator: of what the guidances draw.
        """
        posterior = self.vae.posterior(images)
        z = self.code(posterior, generator)
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        if self.elbo:
            terms |= self.own_losses(images, posterior, z)
            weights |= {"reconstruction": 1.0, "kl": self.kl_weight * kl_warmup}
        for strategy in self.strategies:
            terms |= strategy.losses(images, posterior, z, targets)
            if strategy.decodes:
                terms |= strategy.decoded_losses(self.vae.decode, posterior, z, guidance_generator)
            weights |= strategy.weights
        return Objective(terms, weights, posterior, z)

    def code(self, posterior: Posterior, generator: torch.Generator | None = None) -> Tensor:
        """The latents to decode, ``[B, latent_dim]``: a draw, or the mean in an autoencoder."""
        return posterior.mean if self.autoencoder else posterior.sample(generator)

    def own_losses(self, images: Tensor, posterior: Posterior, z: Tensor) -> dict[str, Tensor]:
        """The terms without guidance, each a scalar: those of :meth:`.VAE.losses`, under the prior
        that guidance may have made, or the reconstruction alone in an autoencoder; the arguments
        are the same."""
        if self.autoencoder:
            return {"reconstruction": self.vae.reconstruction(images, z)}
        terms = self.vae.losses(images, posterior, z)
        for strategy in self.strategies:
            if strategy.replaces_prior:
                terms["kl"] = terms["kl"] + strategy.prior_correction(z).mean()
        return terms

    @property
    def alternates(self) -> bool:
        """True if a guidance has terms for a step of the encoder alone."""
        return any(strategy.alternates for strategy in self.strategies)

    def encoder_objective(
        self, images: Tensor, targets: Mapping[str, Tensor], generator: torch.Generator
    ) -> Objective:
        """The terms of the encoder's own step.

        Args:
            images: float in [0, 1], ``[B, C, H, W]``.
            targets: attribute -> int64 ``[B]``.
            generator: of the posterior's draw.
        """
        posterior = self.vae.posterior(images)
        z = self.code(posterior, generator)
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for strategy in self.strategies:
            if strategy.alternates:
                terms |= strategy.encoder_losses(z, targets)
                weights |= strategy.weights
        return Objective(terms, weights, posterior, z)

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The adversaries' terms for a draw ``[B, latent_dim]``; empty without adversaries."""
        terms: dict[str, Tensor] = {}
        for strategy in self.strategies:
            terms |= strategy.adversary_losses(z.detach(), targets)
        return terms

    def adversary_parameters(self) -> list[nn.Parameter]:
        return [p for strategy in self.strategies for p in strategy.adversary_parameters()]

    def main_parameters(self) -> list[nn.Parameter]:
        """Every parameter that the adversaries' optimizer does not hold."""
        adversarial = {id(p) for p in self.adversary_parameters()}
        return [p for p in self.parameters() if id(p) not in adversarial]


@torch.no_grad()
def _remove_noise(head: nn.Linear) -> None:
    """Fix the log variances at :data:`NO_NOISE`, whatever the image: no term moves them."""
    _, logvar = head.weight.chunk(2)
    logvar.zero_()
    _, logvar = head.bias.chunk(2)
    logvar.fill_(NO_NOISE)


def _settings(entry: Guidance) -> Guidance:
    """An entry of ``guidance``, checked.

    Raises:
        InputError: the entry is a class, or anything else but settings.
    """
    if isinstance(entry, Guidance):
        return entry
    name = entry.__name__ if isinstance(entry, type) else repr(entry)
    raise InputError(
        f"guidance: expected settings such as DeformablePCA(), got {name}; "
        "call the class with its settings"
    )
