"""Pretraining: the one training loop of this half. Images in, encoder checkpoint out.

Every step is a function of (seed, step): its batch and its noise do not depend on what ran
before. A run that was killed and resumed therefore ends with the same bits as one that was not.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures.traversals import augmentation_figure, log_pictures
from guided.guided_vae import GuidedVAE
from guided.seeds import generator, seeded_initialisation
from guided.training.config import PretrainConfig
from guided.training.data import LabelledImages
from guided.training.log import RunLog
from guided.training.precision import Precision
from guided.training.state import Progress, ResumableState, Score, check_finite, progress_bar
from guided.training.step import Trainer
from guided.vae import VAE


@dataclass(frozen=True)
class Pretrained:
    """What pretraining returns: the VAE of the best validation, the model as it ended."""

    vae: VAE
    model: GuidedVAE
    progress: Progress

    @property
    def encoder(self) -> Encoder:
        return self.vae.encoder


def build_model(config: PretrainConfig, images: LabelledImages, seed: int) -> GuidedVAE:
    """The untrained model; its weights are a function of the seed alone."""
    with seeded_initialisation(seed, "pretrain", "weights"):
        return GuidedVAE(
            backbone=config.backbone,
            likelihood=config.likelihood(),
            latent_dim=config.latent_dim,
            guidance=config.guidance,
            input_shape=_shape(images),
            categories=images.categories(),
            kl_weight=config.kl_weight,
            views=config.augmentation.views,
            known=config.augmentation.known,
            elbo=config.elbo,
        )


def _shape(images: LabelledImages) -> tuple[int, int, int]:
    channels, height, width = images.images.shape[1:]
    return channels, height, width


def pretrain(
    config: PretrainConfig,
    train: LabelledImages,
    validation: LabelledImages,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    state_file: Path | None = None,
    log_folder: Path | None = None,
    score: Score | None = None,
    description: str = "pretrain",
) -> Pretrained:
    """Train a (guided) VAE and keep its best encoder.

    Args:
        config: how.
        train: what to fit.
        validation: held-out classes of the training split; judges, never trains.
        seed: of weights, batches and noise.
        device: where to compute.
        precision: of the forward passes.
        state_file: the resumable state, written at each validation; a run that finds one of the
            same configuration continues it.
        log_folder: receives TensorBoard curves and pictures.
        score: what "best" means; the held-out negative ELBO if not given, which needs ``elbo``.
        description: the progress bar's.

    Raises:
        InputError: a loss is not finite; the state before it stays on disk.
    """
    device = torch.device(device)
    if len(train.images) < config.batch_size:
        raise InputError(
            f"batch_size: {config.batch_size} is more than the {len(train.images)} training images"
        )
    if score is None and not config.elbo:
        raise InputError("elbo: without it, states cannot be told apart by the held-out ELBO")
    model = build_model(config, train, seed).to(device)
    train, validation = train.to(device), validation.to(device)
    trainer = Trainer(config, model, train, seed, device, precision)
    best = copy.deepcopy(model.vae)
    state = ResumableState({"model": model, "best": best, **trainer.optimizers})
    if state_file and state_file.exists():
        state.restore(state_file)
    progress = state.progress
    bar = progress_bar(description, config.steps, progress.step, "step")
    with bar, RunLog(log_folder, progress.step) as log:
        if log.active and config.augmentation.active:
            sheet = augmentation_figure(config.augmentation, train.images[0])
            log.figure("augmentation", sheet, progress.step)
        while progress.step < config.steps and not progress.exhausted(config.patience):
            done = trainer.step(progress.step)
            progress.step += 1
            bar.update()
            last = progress.step == config.steps
            logs = last or progress.step % config.log_every == 0
            regular = progress.step % config.validate_every == 0
            validates = last or regular
            if logs or validates:
                check_finite(done.terms, progress.step, config.learning_rate)
            if logs:
                done.log(log, model, progress.step)
            if validates:
                values = _validation(model, validation, seed, score)
                # Also when only a gradient was not finite, and the weights are no longer.
                check_finite(values, progress.step, config.learning_rate)
                log.scalars("validation", values, progress.step)
                if progress.record(values):
                    best.load_state_dict(model.vae.state_dict())
                if state_file and regular:  # a longer training passes through this state too
                    state.save(state_file)
        model.eval()
        if log.active and config.elbo:
            log_pictures(log, model, validation.images, progress.step)
    return Pretrained(best.eval(), model, progress)


@torch.no_grad()
def negative_elbo(
    model: GuidedVAE, images: Tensor, seed: int, batch_size: int = 1024
) -> dict[str, float]:
    """Held-out reconstruction, KL and their sum, nats per image, with one draw an image.

    Args:
        model: a :class:`GuidedVAE`; guidance takes no part.
        images: uint8 ``[N, C, H, W]``.
        seed: of the draws.
        batch_size: images at a time.
    """
    model.eval()
    vae = model.vae
    noise = generator(seed, "validation", device=images.device)
    sums: dict[str, float] = {"reconstruction": 0.0, "kl": 0.0}
    for chunk in images.split(batch_size):
        batch = vae.encoder.normalised(chunk)
        posterior = vae.posterior(batch)
        for name, term in vae.losses(batch, posterior, posterior.sample(noise)).items():
            sums[name] += float(term) * len(chunk)
    means = {name: total / len(images) for name, total in sums.items()}
    return {**means, "negative_elbo": means["reconstruction"] + means["kl"]}


def _validation(
    model: GuidedVAE, validation: LabelledImages, seed: int, score: Score | None
) -> dict[str, float]:
    values = negative_elbo(model, validation.images, seed)
    judged = score(model.vae.encoder.eval()) if score else values["negative_elbo"]
    return {**values, "score": judged}
