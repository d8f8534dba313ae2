"""Pretraining of a (guided) VAE: images in, encoder out.

The batch and the noise of a step are functions of (seed, step). A run that was killed and resumed
therefore ends with the same bits as one that was not.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guided.encoder import Encoder
from guided.errors import InputError
from guided.figures import augmentation_figure, log_inputs, log_pictures, log_progress
from guided.guided_vae import GuidedVAE
from guided.progress import progress_bar
from guided.seeds import generator, seeded_initialisation
from guided.training.config import PretrainConfig, with_settings
from guided.training.data import Images, LabelledImages
from guided.training.log import RunLog
from guided.training.log_tags import VALIDATION
from guided.training.precision import Precision
from guided.training.shown import outcome, training_html
from guided.training.state import Progress, ResumableState, Score, check_finite
from guided.training.step import Trainer
from guided.vae import VAE


@dataclass(frozen=True)
class Pretrained:
    """The result of pretraining.

    Attributes:
        vae: as it was at the best validation.
        model: as training ended.
        progress: steps done, and the history of validations.
    """

    vae: VAE
    model: GuidedVAE
    progress: Progress

    @property
    def encoder(self) -> Encoder:
        return self.vae.encoder

    def __str__(self) -> str:
        """The number of steps, and the state that was kept."""
        return outcome(self.progress, self.model.autoencoder)

    def _repr_html_(self) -> str:
        return training_html(self.encoder, self.progress, f"{self}.")


def build_model(config: PretrainConfig, images: Images, seed: int) -> GuidedVAE:
    """The untrained model; its weights are a function of the seed alone."""
    data = LabelledImages.from_images(images)
    channels, height, width = data.images.shape[1:]
    with seeded_initialisation(seed, "pretrain", "weights"):
        return GuidedVAE(
            backbone=config.backbone,
            likelihood=config.likelihood(),
            latent_dim=config.latent_dim,
            guidance=config.guidance,
            input_shape=(channels, height, width),
            categories=data.categories(),
            kl_weight=config.kl_weight,
            views=config.augmentation.views,
            known=config.augmentation.known,
            n_images=len(data.images),
            factors=data.scales(),
            elbo=config.elbo,
            autoencoder=config.autoencoder,
        )


def pretrain(
    train: Images,
    validation: Images | None = None,
    config: PretrainConfig | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    state_file: Path | None = None,
    log_folder: Path | None = None,
    picture_folder: Path | None = None,
    score: Score | None = None,
    score_name: str = "score",
    description: str = "pretrain",
    **settings: Any,
) -> Pretrained:
    """Train a (guided) VAE and keep its best encoder.

    Args:
        train: images to fit, with the labels that guidance may use: an image bank or
            :class:`LabelledImages`. The values of each attribute are renumbered without gaps.
        validation: held-out images; they choose the state that is kept, and never train. Without
            them and without ``score`` the last state is kept.
        config: settings of the training; the defaults if not given.
        seed: of weights, batches and noise.
        device: where to compute.
        precision: of the forward passes.
        state_file: the resumable state, written at each validation, from which training continues.
        log_folder: receives TensorBoard curves and pictures.
        picture_folder: receives traversals and augmented images as PNG files.
        score: judges an encoder, lower is better; else its own held-out objective does.
        score_name: of ``score`` in the log, e.g. ``few_shot_error_%``.
        description: the progress bar's.
        settings: fields of :class:`PretrainConfig` that replace those of ``config``.

    Raises:
        InputError: a setting is unknown or does not fit the images; a loss is not finite (the
            state before it stays on disk).
    """
    config = with_settings(config or PretrainConfig(), settings, "pretrain")
    device, held_out = torch.device(device), None
    data = LabelledImages.from_images(train, "train").to(device)
    if validation is not None:
        held_out = LabelledImages.from_images(validation, "validation").to(device)
    _check(config, data, held_out, score)
    model = build_model(config, data, seed).to(device)
    trainer = Trainer(config, model, data, seed, device, precision)
    judge = _Judge(model, held_out, seed, score, score_name)
    best = copy.deepcopy(model.vae)
    state = ResumableState({"model": model, "best": best, **trainer.optimizers})
    state.resume(state_file)
    images = (held_out or data).images
    with RunLog(log_folder, state.progress.step) as log:
        shown = log.active or picture_folder is not None
        if shown:
            _show_images(log, config, data, images, state.progress.step, picture_folder)
        _train(trainer, judge, state, best, state_file, log, description, images)
        if shown and config.elbo:
            log_pictures(log, model.eval(), images, state.progress.step, picture_folder)
    return Pretrained(best.eval(), model.eval(), state.progress)


def _show_images(
    log: RunLog,
    config: PretrainConfig,
    data: LabelledImages,
    held_out: Tensor,
    step: int,
    folder: Path | None,
) -> None:
    """The augmentation, if there is one, and at the start the images that pictures are of."""
    if config.augmentation.active:
        sheet = augmentation_figure(config.augmentation, data.images[0])
        log.figure("augmentation", sheet, step, file=folder and folder / "augmentation.png")
    if config.elbo and not step:
        log_inputs(log, held_out)


def _train(
    trainer: Trainer,
    judge: "_Judge",
    state: ResumableState,
    best: VAE,
    state_file: Path | None,
    log: RunLog,
    description: str,
    images: Tensor,
) -> None:
    """Run steps until the last one, or until patience is exhausted."""
    config, model, progress = trainer.config, trainer.model, state.progress
    with progress_bar(description, config.steps, progress.step, "step") as bar:
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
                values = judge()
                # Catches weights that an infinite gradient has spoilt.
                check_finite(values, progress.step, config.learning_rate)
                log.scalars(VALIDATION, judge.shown(values), progress.step)
                if config.elbo:
                    log_progress(log, model, images, progress.step)
                bar.validated(progress.step, values)
                if progress.record(values):
                    best.load_state_dict(model.vae.state_dict())
                if state_file and regular:  # a longer training passes through this state too
                    state.save(state_file)


def check_pretraining(
    config: PretrainConfig,
    train: Images,
    validation: Images | None = None,
    *,
    seed: int = 0,
    score: Score | None = None,
) -> None:
    """Build the model once, so that what cannot be trained is refused before anything is written.

    Args:
        config, train, validation, seed, score: as for :func:`pretrain`.

    Raises:
        InputError: a setting does not fit the images.
    """
    data = LabelledImages.from_images(train, "train")
    held_out = None if validation is None else LabelledImages.from_images(validation, "validation")
    _check(config, data, held_out, score)
    build_model(config, data, seed)


def _check(
    config: PretrainConfig,
    train: LabelledImages,
    validation: LabelledImages | None,
    score: Score | None,
) -> None:
    """Refuse settings that do not fit the images, before anything is computed."""
    if len(train.images) < config.batch_size:
        raise InputError(
            f"batch_size: {config.batch_size} is more than the {len(train.images)} training images"
        )
    if validation and not score and not config.elbo:
        raise InputError("elbo: without it, states cannot be told apart by the held-out ELBO")
    if config.patience and not score and not validation:
        raise InputError("patience: needs validation images or a score")


@dataclass(frozen=True)
class _Judge:
    """Measures a model in training on held-out images; ``score`` says how good it is."""

    model: GuidedVAE
    images: LabelledImages | None
    seed: int
    score: Score | None
    score_name: str

    def shown(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values as they are logged: what was measured, once."""
        own = {self.score_name: values["score"]} if self.score else {}
        return own | {name: value for name, value in values.items() if name != "score"}

    def __call__(self) -> dict[str, float]:
        self.model.eval()
        values: dict[str, float] = {}
        if self.images and self.model.elbo:  # without it, no decoder is trained
            values = negative_elbo(self.model, self.images.images, self.seed)
            values["score"] = values.get("negative_elbo", values["reconstruction"])
        if self.score:
            values["score"] = float(self.score(self.model.vae.encoder))  # numpy's is no float
        return values


@torch.no_grad()
def negative_elbo(
    model: GuidedVAE, images: Tensor, seed: int, batch_size: int = 1024
) -> dict[str, float]:
    """Held-out reconstruction error, KL and their sum, nats per image, with one draw per image.

    Of an autoencoder, which has neither draws nor KL, the reconstruction error alone.

    Args:
        model: in any mode; it is put into evaluation mode. Guidance takes no part, except that a
            prior of its own counts.
        images: uint8 ``[N, C, H, W]``.
        seed: of the draws.
        batch_size: images at a time.
    """
    model.eval()
    vae = model.vae
    noise = generator(seed, "validation", device=images.device)
    sums: dict[str, float] = {}
    for chunk in images.split(batch_size):
        batch = vae.encoder.normalised(chunk)
        posterior = vae.posterior(batch)
        terms = model.own_losses(batch, posterior, model.code(posterior, noise))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term) * len(chunk)
    means = {name: total / len(images) for name, total in sums.items()}
    return means if model.autoencoder else {**means, "negative_elbo": sum(means.values())}
