"""Episodic meta-training: the training loop of this half."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.data.bank import ImageBank
from fewshot.episodes import Setting
from fewshot.evaluation import episode_errors, table_for
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.sampler import EpisodeSampler
from fewshot.tasks.base import DeformedTasks, TaskContext, TaskFactory, TaskSource
from fewshot.tasks.labelled import LabelledTasks
from guided.augment import Augmentation
from guided.encoder import Encoder
from guided.errors import InputError
from guided.progress import progress_bar
from guided.ranges import Checked, Count, Positive, Whole
from guided.seeds import derive_seed, seeded_initialisation
from guided.training.config import with_settings
from guided.training.log import RunLog
from guided.training.log_tags import FEW_SHOT_ERROR, LOSS, VALIDATION
from guided.training.precision import Precision, autocast
from guided.training.state import Progress, ResumableState, check_finite


@dataclass(frozen=True)
class TrainConfig(Checked):
    """Settings of a meta-training.

    Args:
        setting: shape of the training episodes. More ways than at test time help prototypical
            networks (Snell et al. 2017, §3.1).
        steps: optimizer steps.
        episodes_per_step: episodes whose losses are averaged in a step.
        learning_rate: learning rate of Adam, > 0.
        halve_every: steps after which the learning rate is halved, repeatedly; 0: never.
        freeze_encoder: train only the weights of the learner, and the projection if there is one.
        projection: width of a linear map after the encoder, trained by episodes; 0: none.
        validation: shape of the validation episodes.
        validation_episodes: number of validation episodes.
        validate_every: steps between validations; the best state is kept.
        patience: validations without improvement after which training stops; 0: never.
        log_every: steps between logged losses and checks for NaN.
        augmentation: random deformations of the episodes' images, each image by its own.
        tasks: source of training episodes that needs no labels; null: classes are the labels'.
            Validation classes are always the labels'.
    """

    setting: Setting = field(default_factory=lambda: Setting(20, 1, 5))
    steps: Count = 1000
    episodes_per_step: Count = 1
    learning_rate: Positive = 1e-3
    halve_every: Whole = 0
    freeze_encoder: bool = False
    projection: Whole = 0
    validation: Setting = field(default_factory=Setting)
    validation_episodes: Count = 300
    validate_every: Count = 100
    patience: Whole = 0
    log_every: Count = 20
    augmentation: Augmentation = field(default_factory=Augmentation)
    tasks: TaskFactory | None = None

    def __post_init__(self) -> None:
        if self.augmentation.views > 1:
            raise InputError("augmentation.views: an episode has its own number of images")


@dataclass(frozen=True)
class MetaTrained:
    """The result of meta-training.

    Attributes:
        learner: the learner at its best validation, in evaluation mode.
        progress: steps done, and the history of validations.
    """

    learner: Learner
    progress: Progress

    @property
    def encoder(self) -> Encoder:
        """The encoder of the learner."""
        return self.learner.encoder


def train(
    learner: LearnerFactory,
    encoder: Encoder,
    train: ImageBank,
    validation: ImageBank,
    /,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **settings: Any,
) -> MetaTrained:
    """Meta-train a learner and its encoder, with settings by keyword.

    ``train(Prototypical, encoder, splits.train, splits.validation, steps=500)`` trains with the
    default :class:`TrainConfig` but for ``steps``.

    Args:
        learner: a learner's class, or ``functools.partial(Class, setting=value)``.
        encoder: the starting point, images ``[B, C, H, W]`` to embeddings ``[B, out_dim]``; it is
            copied, not changed.
        train: classes to draw training episodes from.
        validation: classes to judge on; the best state is kept.
        config: settings of the training.
        seed: seed of new weights and of the episodes.
        device: where to compute.
        settings: fields of :class:`TrainConfig` that replace those of ``config``.

    Raises:
        InputError: a setting is unknown or impossible, or a loss is not finite.
    """
    if isinstance(learner, Learner):
        name = type(learner).__name__
        raise InputError(
            f"learner: expected a class, got a {name}; pass {name} or functools.partial({name}, …)"
        )
    chosen = with_settings(config or TrainConfig(), settings, "train")
    return meta_train(chosen, learner, encoder, train, validation, seed=seed, device=device)


def meta_train(
    config: TrainConfig,
    learner: LearnerFactory,
    encoder: Encoder,
    train: ImageBank,
    validation: ImageBank,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    state_file: Path | None = None,
    log_folder: Path | None = None,
    description: str = "train",
    decoder: nn.Module | None = None,
) -> MetaTrained:
    """Meta-train a learner on episodes and keep its best state.

    Step t uses episodes t · episodes_per_step, … of one list, a function of the seed: a resumed
    run sees the same episodes. Batch norm follows the policy of the learner.

    Args:
        config: settings of the training.
        learner: makes the learner around the encoder.
        encoder: the starting point; it is copied, not changed.
        train: classes to draw training episodes from.
        validation: classes to judge on.
        seed: seed of new weights and of the episodes.
        device: where to compute.
        precision: precision of the forward passes.
        state_file: the resumable state, written at each validation; if the file exists, training
            continues from it.
        log_folder: receives TensorBoard curves.
        description: label of the progress bar.
        decoder: latents ``[B, latent_dim]`` to images ``[B, C, H, W]`` in [0, 1], for tasks that
            decode latents.

    Raises:
        InputError: nothing to train, impossible episodes, or a loss that is not finite.
    """
    device = torch.device(device)
    model = starting_learner(config, learner, encoder, seed).to(device)
    model.check_classes(train.n_classes)
    source = _source(config, model, train, derive_seed(seed, "train"), device, decoder)
    trainer = _Trainer(config, model, source, precision)
    judge = _Judge(config, validation, seed, device)
    best = copy.deepcopy(model)
    state = ResumableState({"learner": model, "best": best, "optimizer": trainer.optimizer})
    state.resume(state_file)
    bar = progress_bar(description, config.steps, state.progress.step, "step")
    with bar, RunLog(log_folder, state.progress.step) as log:
        for validated in _steps(trainer, judge, state, best, log, state_file):
            bar.update()
            if validated:
                error = state.progress.history[-1]["score"]
                bar.validated(state.progress.step, {"validation error": error})
    return MetaTrained(best.eval(), state.progress)


def _steps(
    trainer: "_Trainer",
    judge: "_Judge",
    state: ResumableState,
    best: Learner,
    log: RunLog,
    state_file: Path | None,
) -> Iterator[bool]:
    """The training loop; yields after each step, true after a validation."""
    config, progress = trainer.config, state.progress
    while progress.step < config.steps and not progress.exhausted(config.patience):
        loss = trainer.step(progress.step)
        progress.step += 1
        regular = progress.step % config.validate_every == 0
        validates = regular or progress.step == config.steps
        if validates or progress.step % config.log_every == 0:
            check_finite({"loss": loss}, progress.step, config.learning_rate)
            log.scalars(LOSS, {"episodes": loss}, progress.step)
        if validates:
            error = judge.error(trainer.model)
            log.scalars(VALIDATION, {FEW_SHOT_ERROR: error}, progress.step)
            if progress.record({"score": error}):
                best.load_state_dict(trainer.model.state_dict())
            if state_file and regular:  # a longer training passes through this state too
                state.save(state_file)
        yield validates


class _Trainer:
    """Takes optimizer steps on the episodes of a source."""

    def __init__(
        self, config: TrainConfig, model: Learner, source: TaskSource, precision: Precision
    ) -> None:
        self.config, self.model = config, model
        self.source, self.precision = source, precision
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = parameters[0].device
        self.optimizer = torch.optim.Adam(parameters, config.learning_rate, fused=True)

    def step(self, number: int) -> Tensor:
        """Take step ``number``, counted from 0; returns its loss, a scalar without a graph."""
        config, size = self.config, self.config.episodes_per_step
        self.model.train()
        if config.freeze_encoder:
            self.model.encoder.eval()
        if config.halve_every:
            factor = 0.5 ** (number // config.halve_every)
            self.optimizer.param_groups[0]["lr"] = config.learning_rate * factor
        episodes = self.source.episodes(number * size, (number + 1) * size)
        with autocast(self.precision, self.device):
            loss = self.model.loss(episodes)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class _Judge:
    """Measures the error of a learner on the validation episodes."""

    def __init__(
        self, config: TrainConfig, bank: ImageBank, seed: int, device: torch.device
    ) -> None:
        self.config, self.bank, self.device = config, bank, device
        self.sampler = EpisodeSampler(bank, config.validation, derive_seed(seed, "validation"))

    def error(self, model: Learner) -> float:
        """Mean error in percent."""
        table = table_for(model, self.bank, self.device)
        errors = episode_errors(model, table, self.sampler, self.config.validation_episodes)
        return float(errors.mean())


def starting_learner(
    config: TrainConfig, learner: LearnerFactory, encoder: Encoder, seed: int
) -> Learner:
    """The learner from which meta-training starts; frozen parameters need no gradient.

    Raises:
        InputError: there is nothing to train, the learner cannot have a frozen encoder, or it was
            made for another number of classes.
    """
    with seeded_initialisation(seed, "train", "projection"):
        start = encoder.with_projection(config.projection)
    with seeded_initialisation(seed, "train", "learner"):
        model = learner(start)
    for setting in (config.setting, config.validation):
        model.check_ways(setting.n_way)
    if config.freeze_encoder:
        _check_frozen(config, model)
        model.encoder.requires_grad_(False)
        if model.encoder.projection:
            model.encoder.projection.requires_grad_(True)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError("train: nothing is left to train; set projection, e.g. to 64")
    return model


def _check_frozen(config: TrainConfig, model: Learner) -> None:
    """Refuse what a frozen encoder, which embeds each image only once, cannot be used with."""
    if config.augmentation.active:
        raise InputError("augmentation: changes images; freeze_encoder embeds each only once")
    if config.tasks:
        raise InputError("tasks: are of images; freeze_encoder needs embeddings of the bank's")
    if model.reads_images:
        raise InputError("freeze_encoder: needs a learner of embeddings; this one reads images")
    if model.apart is not None:
        raise InputError("freeze_encoder: needs a learner of embeddings alone")


def _source(
    config: TrainConfig,
    model: Learner,
    bank: ImageBank,
    seed: int,
    device: torch.device,
    decoder: nn.Module | None,
) -> TaskSource:
    source: TaskSource
    if config.tasks is None:
        frozen = model.encoder if config.freeze_encoder else None
        source = LabelledTasks(bank, config.setting, seed, device, frozen)
    else:
        start = copy.deepcopy(model.encoder).select("all").eval()
        context = TaskContext(bank.images, config.setting, seed, device, start, decoder)
        source = config.tasks(context)
    if config.augmentation.active:
        return DeformedTasks(source, config.augmentation, seed, device)
    return source
