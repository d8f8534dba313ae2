"""Latents inferred by descending the negative log joint density of a decoder."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guided import backbones, likelihoods
from guided.backbones.base import Backbone, ImageShape
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.latents import REST, LatentLayout
from guided.likelihoods import Likelihood
from guided.metrics.collapse import image_to_chain_variance
from guided.naming import class_of, name_of
from guided.ranges import Count, NonNegative, Whole
from guided.seeds import generator
from guided.short_run import Langevin, run_chain

Start = Literal["zero", "prior", "encoder"]

MEASURED_IMAGES, MEASURED_CHAINS = 500, 8
"""Of the measurement of collapse."""

LARGEST = 1e6
"""In the place of an infinite ratio, which JSON has no word for."""


class ShortRunInference(Backbone):
    """A decoder whose latents are inferred for each image by a short chain; no encoder is needed.

    Source: Nijkamp et al. (2020), arXiv:1912.01909; Pang et al. (2021), arXiv:2106.02513. From an
    encoder's mean in place of the prior: the test-time half of semi-amortised inference (Kim et
    al. 2018, arXiv:1802.02550).

    All images have the same starts and noises, so that a latent depends on its image alone. The
    weights take no gradient from what the latents are used for, and batch norm is always in
    evaluation mode.

    Args:
        input_shape: (C, H, W) of the images.
        backbone: name of the network whose decoder it is, as in encoder files.
        backbone_settings: of that network.
        latent_dim: latents of the decoder.
        likelihood: p(x|z), a class of :mod:`guided.likelihoods`, by name.
        inference: the chain, or its settings by name.
        start: of the chains: ``zero``, the prior's mean; ``prior``, draws from it; ``encoder``, the
            mean of q(z|x) of that network with a linear head.
        temperature: of the chains' noise, >= 0.
        chains: number of chains, whose last states are averaged.
        latents: those that are returned, by number; None: all.
        sampler: the chain that the decoder was trained with, from the prior; for measurements.
        sampler_temperature: of its noise, >= 0.

    Raises:
        InputError: unknown names; several chains that would all be the same.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        backbone: str,
        backbone_settings: Mapping[str, Any],
        latent_dim: Count,
        likelihood: str = "Bernoulli",
        inference: Langevin | Mapping[str, Any] = Langevin(),  # noqa: B008 - it is frozen
        start: Start = "zero",
        temperature: NonNegative = 0.0,
        chains: Count = 1,
        latents: list[Whole] | None = None,
        sampler: Langevin | Mapping[str, Any] | None = None,
        sampler_temperature: NonNegative = 1.0,
    ) -> None:
        inference = _langevin(inference)
        sampler = None if sampler is None else _langevin(sampler)
        super().__init__(
            input_shape,
            backbone=backbone,
            backbone_settings=dict(backbone_settings),
            latent_dim=latent_dim,
            likelihood=likelihood,
            inference=asdict(inference),
            start=start,
            temperature=temperature,
            chains=chains,
            latents=latents,
            sampler=sampler and asdict(sampler),
            sampler_temperature=sampler_temperature,
        )
        self.inference, self.sampler = inference, sampler
        if chains > 1 and start != "prior" and not temperature:
            raise InputError(
                f"chains: {chains} from the same start and without noise would all be the same; "
                "start from the prior, raise temperature, or take 1"
            )
        body = self._network()
        self.encoder: Encoder | None = None
        if start == "encoder":
            self.encoder = Encoder(body, LatentLayout({REST: (0, latent_dim)}))
        scores = class_of(likelihood, likelihoods, Likelihood)()
        self.model = Decoder(body.decoder(latent_dim), scores, latent_dim)
        self.latents = latents
        self.feature_dim = latent_dim if latents is None else len(latents)
        self.requires_grad_(False).eval()

    def _network(self) -> Backbone:
        network = class_of(self.settings["backbone"], backbones, Backbone)
        # As an encoder's file rebuilds it: its settings must not choose what is imported or read.
        return network.rebuilt(self.input_shape, self.settings["backbone_settings"])

    def train(self, mode: bool = True) -> "ShortRunInference":
        """Stays in evaluation mode: an image's latents must not depend on its batch."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        shape = (self.settings["chains"], 1, self.model.latent_dim)
        # Drawn on the CPU: the same on every device.
        draws = generator(0, "short-run inference")
        start = torch.zeros(shape)
        if self.settings["start"] == "prior":
            start = torch.randn(shape, generator=draws)
        noise = self.inference.noise(shape, draws, self.settings["temperature"])
        start = start.to(images)
        if self.encoder is not None:
            with torch.no_grad():
                start = start + self.encoder.moments(images)[0]
        z = run_chain(
            self.model,
            images,
            start.expand(-1, len(images), -1),
            self.inference,
            None if noise is None else noise.to(images),
        ).mean(0)
        return z if self.latents is None else z[:, self.latents]

    def decoder(self, latent_dim: int) -> nn.Module:
        return self._network().decoder(latent_dim)

    def variance_ratios(self, images: Tensor) -> list[float]:
        """Each latent's variance over images by that over chains from the prior.

        See :func:`.image_to_chain_variance`; of the chain that the decoder was trained with. There
        are none for a VAE's decoder.

        Args:
            images: uint8 ``[N, C, H, W]``; 500 of them are used.
        """
        if self.sampler is None:
            return []
        images = images[:: max(1, len(images) // MEASURED_IMAGES)][:MEASURED_IMAGES]
        images = images.to(next(self.parameters()).device).float().div_(255)
        draws = generator(0, "short-run measurement")
        shape = (MEASURED_CHAINS, len(images), self.model.latent_dim)
        start = torch.randn(shape, generator=draws)
        noise = self.sampler.noise(shape, draws, self.settings["sampler_temperature"])
        noises = [None] * MEASURED_CHAINS if noise is None else noise.to(images).unbind(1)
        z = [
            run_chain(self.model, images, z_0, self.sampler, own)
            for z_0, own in zip(start.to(images), noises, strict=True)
        ]
        ratios = image_to_chain_variance(torch.stack(z).cpu().numpy())
        return [round(min(float(ratio), LARGEST), 4) for ratio in ratios]


def semi_amortised(encoder: Encoder, decoder: Decoder, inference: Langevin) -> Encoder:
    """An encoder whose latents are a VAE's posterior means after a few steps of inference.

    Source: Kim et al. (2018), arXiv:1802.02550, whose training takes the steps too. Here nothing
    is trained. It returns the same latents as the VAE's encoder, and can be saved like any other.

    Args:
        encoder: of the VAE, with the latents that are wanted.
        decoder: of the same VAE.
        inference: the steps.

    Raises:
        InputError: the encoder returns no latents of a VAE.
    """
    if encoder.layout is None or encoder.latents == "features" or encoder.projection:
        raise InputError(
            "test_inference: needs the latents of a VAE; this encoder returns "
            + ("a projection" if encoder.projection else "features")
        )
    body = encoder.backbone
    inferred = ShortRunInference(
        encoder.input_shape,
        backbone=name_of(type(body), backbones),
        backbone_settings=body.settings,
        latent_dim=encoder.layout.latent_dim,
        likelihood=name_of(type(decoder.likelihood), likelihoods),
        inference=inference,
        start="encoder",
        latents=None if encoder.latents == "all" else encoder.chosen.tolist(),
    )
    assert inferred.encoder is not None
    inferred.encoder.load_state_dict(encoder.state_dict())
    inferred.model.load_state_dict(decoder.state_dict())
    return Encoder(inferred, None).to(encoder.chosen.device).eval()


def _langevin(given: Langevin | Mapping[str, Any]) -> Langevin:
    return given if isinstance(given, Langevin) else Langevin(**given)
