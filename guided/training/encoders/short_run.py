"""A generator whose latents are inferred by short chains, in training and after it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guided import backbones, likelihoods
from guided.backbones import BackboneFactory, Conv4, ShortRunInference
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures.grids import spaced
from guided.likelihoods import Bernoulli, Likelihood
from guided.naming import name_of
from guided.progress import progress_bar
from guided.ranges import Count, NonNegative, Positive
from guided.seeds import generator
from guided.short_run import Langevin, log_joint, run_chain
from guided.training.data import Batches, LabelledImages
from guided.training.encoders.base import EncoderTraining, History, TrainingContext
from guided.training.log import RunLog
from guided.training.log_tags import LOSS, VALIDATION
from guided.training.state import Progress, ResumableState, check_finite

MEASURED = 500
"""Images whose reconstruction a validation measures; the score has more."""


@dataclass(frozen=True)
class ShortRun(EncoderTraining):
    """A decoder alone, trained on the latents that a short chain infers for each batch.

    Source: Nijkamp et al. (2020), arXiv:1912.01909; Pang et al. (2021), arXiv:2106.02513. A step
    runs one chain for each image, from a fresh draw of the prior, and takes one step of Adam on
    -log p(x|z_K), with z_K held fixed. The states that are compared are judged by the score; where
    there is none, the last one is kept: this model has no ELBO.

    Differs from the papers: images are embedded by a descent from the prior's mean, without noise;
    the decoder and the steps are smaller. Always in single precision, for the sake of small steps.

    Args:
        backbone: the network whose decoder is trained; without batch norm, which would make an
            image's latents depend on its batch.
        latent_dim: number of latents, at least 1.
        likelihood: p(x|z): Bernoulli for ink on paper, Gaussian for natural images.
        chain: the steps in training, from the prior.
        temperature: of their noise, >= 0; 1 is Langevin's.
        inference: the steps after training; null: as in training. A decoder may come to have too
            large a curvature for these, and a descent that does not settle embeds badly: smaller
            ones, and more, can be tried on a trained encoder.
        inference_temperature: of their noise, >= 0; 0: a descent without noise.
        start: of the chains after training: zero, the prior's mean; or prior, draws from it.
        chains: after training, whose last states are averaged.
        steps: of the optimizer, each with one chain an image, at least 1.
        batch_size: images a step, at least 1.
        learning_rate: of Adam, > 0.
        validate_every: steps between validations; the best state is kept.
        log_every: steps between logged scalars.

    Raises:
        InputError: a number is out of its range; the decoder has batch norm.
    """

    fixed: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    backbone: BackboneFactory = field(
        default_factory=lambda: partial(Conv4, width=32, decoder_norm="none")
    )
    latent_dim: Count = 32
    likelihood: Callable[[], Likelihood] = field(default_factory=lambda: partial(Bernoulli))
    chain: Langevin = field(default_factory=Langevin)
    temperature: NonNegative = 1.0
    inference: Langevin | None = None
    inference_temperature: NonNegative = 0.0
    start: Literal["zero", "prior"] = "zero"
    chains: Count = 1
    steps: Count = 1500
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    validate_every: Count = 250
    log_every: Count = 50

    def build(self, images: LabelledImages) -> Encoder:
        channels, height, width = images.images.shape[1:]
        body = self.backbone((channels, height, width))
        network = ShortRunInference(
            body.input_shape,
            backbone=name_of(type(body), backbones),
            backbone_settings=body.settings,
            latent_dim=self.latent_dim,
            likelihood=name_of(type(self.likelihood()), likelihoods),
            inference=self.inference or self.chain,
            start=self.start,
            temperature=self.inference_temperature,
            chains=self.chains,
            sampler=self.chain,
            sampler_temperature=self.temperature,
        )
        if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.modules()):
            raise InputError(
                f"ShortRun.backbone: the decoder of {type(body).__name__} has batch norm, which "
                "couples the images of a batch; Conv4 takes decoder_norm: none"
            )
        network.model.likelihood = self.likelihood().requires_grad_(False)
        return Encoder(network, None)

    def train(
        self,
        encoder: Encoder,
        images: LabelledImages,
        validation: LabelledImages | None,
        context: TrainingContext,
    ) -> History:
        if len(images.images) < self.batch_size:
            raise InputError(
                f"ShortRun.batch_size: {self.batch_size} is more than the "
                f"{len(images.images)} training images"
            )
        return _Loop(self, encoder, images.images, validation, context).run()


class _Loop:
    """One training; batch, starts and noise of a step are functions of (seed, step)."""

    def __init__(
        self,
        settings: ShortRun,
        encoder: Encoder,
        images: Tensor,
        validation: LabelledImages | None,
        context: TrainingContext,
    ) -> None:
        self.settings, self.encoder, self.context = settings, encoder, context
        self.images, self.held_out = images, validation.images if validation else None
        backbone = encoder.backbone
        assert isinstance(backbone, ShortRunInference)
        self.model: Decoder = backbone.model
        self.best = deepcopy(self.model)
        self.model.requires_grad_(True)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), settings.learning_rate, fused=True
        )
        self.batches = Batches(len(images), settings.batch_size, context.seed, context.device)
        self.state = ResumableState(
            {"model": self.model, "best": self.best, "main": self.optimizer}
        )

    def run(self) -> History:
        settings, context = self.settings, self.context
        self.state.resume(context.state_file)
        progress = self.state.progress
        with (
            RunLog(context.log_folder, progress.step) as log,
            progress_bar(context.description, settings.steps, progress.step, "step") as bar,
        ):
            while progress.step < settings.steps:
                loss = self._step(progress.step)
                progress.step += 1
                bar.update()
                last = progress.step == settings.steps
                regular = progress.step % settings.validate_every == 0
                if last or regular or progress.step % settings.log_every == 0:
                    terms = {"reconstruction": loss}
                    check_finite(terms, progress.step, settings.learning_rate)
                    log.scalars(LOSS, terms, progress.step)
                if last or regular:
                    self._validate(progress, log)
                    bar.validated(progress.step, progress.history[-1])
                    if context.state_file and regular:
                        self.state.save(context.state_file)
            self.model.load_state_dict(self.best.state_dict())
            self.model.requires_grad_(False)
            if log.active:
                self._show(log, progress.step)
        return progress.history

    def _show(self, log: RunLog, step: int) -> None:
        """Images, their reconstructions, and samples."""
        shown = self.images if self.held_out is None else self.held_out
        images = self.encoder.normalised(spaced(shown, 16))
        log.images("inputs", images, step)
        log.images("reconstructions", self.model(self.encoder(images)), step, columns=16)
        log.images("samples", self.model.sample(64), step)

    def _step(self, number: int) -> Tensor:
        rows, chain = self.batches[number], self.settings.chain
        images = self.encoder.normalised(self.images[rows])
        device = images.device
        draws = generator(self.context.seed, "short run", "chains", number, device=device)
        shape = (len(rows), self.model.latent_dim)
        start = torch.randn(shape, generator=draws, device=device)
        noise = chain.noise(shape, draws, self.settings.temperature)
        z = run_chain(self.model, images, start, chain, noise)
        loss = self.model.likelihood.nll(self.model.network(z), images).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _validate(self, progress: Progress, log: RunLog) -> None:
        values = {} if self.held_out is None else self._measured(self.held_out)
        if self.context.score:
            values["score"] = float(self.context.score(self.encoder))
        check_finite(values, progress.step, self.settings.learning_rate)
        own = {"score": self.context.score_name}
        log.scalars(VALIDATION, {own.get(k, k): v for k, v in values.items()}, progress.step)
        if progress.record(values):
            self.best.load_state_dict(self.model.state_dict())

    @torch.no_grad()
    def _measured(self, images: Tensor) -> dict[str, float]:
        """Reconstruction and -log p(x, z) at the inferred latents, nats per image."""
        batch = self.encoder.normalised(spaced(images, MEASURED))
        z = self.encoder(batch)
        nll = self.model.likelihood.nll(self.model.network(z), batch).mean()
        joint = -log_joint(self.model, batch, z).mean()
        return {"reconstruction": float(nll), "negative_log_joint": float(joint)}
