"""Episodic meta-training: the one training loop of this half."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from fewshot.compiled import as_written, compile_networks, translating
from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import embed_bank, episode_errors, table_for
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.sampler import EpisodeSampler
from fewshot.tasks.base import DeformedTasks, TaskContext, TaskFactory, TaskSource
from guided.augment import Augmentation
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import derive_seed, seeded_initialisation
from guided.training.log import RunLog
from guided.training.precision import Precision, autocast
from guided.training.state import Progress, ResumableState, check_finite, progress_bar


@dataclass(frozen=True)
class TrainConfig:
    """How a learner is meta-trained.

    Args:
        setting: shape of the training episodes; more ways than in the test help prototypical
            networks (Snell et al. 2017, §3.1).
        steps: optimizer steps.
        episodes_per_step: episodes averaged in a step.
        learning_rate: of Adam.
        halve_every: steps after which the learning rate is halved, again and again; 0: never.
        freeze_encoder: train only the learner's own weights, and a projection if there is one.
        projection: width of that linear map; 0: none.
        validation: shape of the validation episodes.
        validation_episodes: how many.
        validate_every: steps between validations; the best state is kept.
        patience: validations without improvement after which training stops; 0: never.
        log_every: steps between logged losses and checks for NaN.
        augmentation: random deformations of the episodes' images, each its own; also of those that
            ``tasks`` makes.
        tasks: makes the episodes without labels; null: classes are the labels'. Validation classes
            are the labels' always.
        compile: translate the encoder by ``torch.compile``, for a learner of embeddings; takes some
            seconds and a C++ compiler before the first step; the results are the same up to
            rounding.
    """

    setting: Setting = field(default_factory=lambda: Setting(20, 1, 5))
    steps: int = 1000
    episodes_per_step: int = 1
    learning_rate: float = 1e-3
    halve_every: int = 0
    freeze_encoder: bool = False
    projection: int = 0
    validation: Setting = field(default_factory=Setting)
    validation_episodes: int = 300
    validate_every: int = 100
    patience: int = 0
    log_every: int = 20
    augmentation: Augmentation = field(default_factory=Augmentation)
    tasks: TaskFactory | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        positive = ("steps", "episodes_per_step", "validation_episodes", "validate_every")
        for name, least in (*((name, 1) for name in (*positive, "log_every")), ("projection", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.augmentation.views > 1:
            raise InputError("augmentation.views: an episode has its own number of images")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate: expected > 0, got {self.learning_rate}")


@dataclass(frozen=True)
class MetaTrained:
    """What meta-training returns: the learner of the best validation, and the learning curve."""

    learner: Learner
    progress: Progress

    @property
    def encoder(self) -> Encoder:
        return self.learner.encoder


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
    """Train a learner, its encoder included (or a projection of a frozen one), by its episodes.

    Batch norm, where the encoder has it, follows the learner's policy. Step t uses episodes
    t · episodes_per_step … of one list, a function of the seed: a resumed run sees the same ones.

    Args:
        config: how.
        learner: makes the learner around the encoder.
        encoder: where to start; it is copied, not changed.
        train: classes to draw episodes from.
        validation: classes to judge on.
        seed: of the episodes and of a new projection.
        device: where to compute.
        precision: of the forward passes.
        state_file: the resumable state, written at each validation.
        log_folder: receives TensorBoard curves.
        description: the progress bar's.
        decoder: of the VAE that the encoder is of, for tasks that are decoded.

    Raises:
        InputError: nothing to train, impossible episodes, or a loss that is not finite.
    """
    device = torch.device(device)
    model = starting_learner(config, learner, encoder, seed).to(device)
    model.check_classes(train.n_classes)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, config.learning_rate, fused=True)
    source = _source(config, model, train, derive_seed(seed, "train"), device, decoder)
    judge = EpisodeSampler(validation, config.validation, derive_seed(seed, "validation"))
    best = copy.deepcopy(model)
    state = ResumableState({"learner": model, "best": best, "optimizer": optimizer})
    if state_file and state_file.exists():
        state.restore(state_file)
    if config.compile:
        compile_networks(model.encoder.backbone)
    progress, size = state.progress, config.episodes_per_step
    bar = progress_bar(description, config.steps, progress.step, "step")
    with bar, RunLog(log_folder, progress.step) as log:
        while progress.step < config.steps and not progress.exhausted(config.patience):
            model.train(not config.freeze_encoder)
            _set_learning_rate(optimizer, config, progress.step)
            first = progress.step * size
            episodes = source.episodes(first, first + size)
            with translating() if config.compile else nullcontext():
                with autocast(precision, device):
                    loss = model.loss(episodes)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            progress.step += 1
            bar.update()
            last = progress.step == config.steps
            regular = progress.step % config.validate_every == 0
            judged = last or regular
            if judged or progress.step % config.log_every == 0:
                check_finite({"loss": loss}, progress.step, config.learning_rate)
                log.scalars("train", {"loss": loss.detach()}, progress.step)
            if judged:
                with as_written() if config.compile else nullcontext():
                    table = table_for(model, validation, device)
                    errors = episode_errors(model, table, judge, config.validation_episodes)
                values = {"score": float(errors.mean())}
                log.scalars("validation", {"error": values["score"]}, progress.step)
                if progress.record(values):
                    best.load_state_dict(model.state_dict())
                if state_file and regular:  # a longer training passes through this state too
                    state.save(state_file)
    return MetaTrained(best.eval(), progress)


def starting_learner(
    config: TrainConfig, learner: LearnerFactory, encoder: Encoder, seed: int
) -> Learner:
    """The learner from which meta-training starts; what it does not train needs no gradient.

    Raises:
        InputError: nothing to train, a frozen encoder under a learner that reads images, or one
            that was made for another number of classes.
    """
    with seeded_initialisation(seed, "train", "projection"):
        start = encoder.with_projection(config.projection)
    with seeded_initialisation(seed, "train", "learner"):
        model = learner(start)
    for setting in (config.setting, config.validation):
        model.check_ways(setting.n_way)
    if config.compile and (model.reads_images or config.freeze_encoder):
        raise InputError("compile: needs a learner of embeddings whose encoder is trained")
    if config.freeze_encoder:
        if config.augmentation.active:
            raise InputError("augmentation: changes images; freeze_encoder embeds each only once")
        if config.tasks:
            raise InputError("tasks: are of images; freeze_encoder needs embeddings of the bank's")
        if model.reads_images:
            raise InputError("freeze_encoder: needs a learner of embeddings; this one reads images")
        model.encoder.requires_grad_(False)
        if model.encoder.projection:
            model.encoder.projection.requires_grad_(True)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError("train: nothing is left to train; set projection, e.g. to 64")
    return model


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
        source = _LabelledTasks(config, model, bank, seed, device)
    else:
        start = copy.deepcopy(model.encoder).select("all").eval()
        context = TaskContext(bank.images, config.setting, seed, device, start, decoder)
        source = config.tasks(context)
    if config.augmentation.active:
        return DeformedTasks(source, config.augmentation, seed, device)
    return source


class _LabelledTasks(TaskSource):
    """Episodes of what the trained part reads: images, or a frozen encoder's outputs."""

    def __init__(
        self,
        config: TrainConfig,
        model: Learner,
        bank: ImageBank,
        seed: int,
        device: torch.device,
    ) -> None:
        self.device = device
        self.sampler = EpisodeSampler(bank, config.setting, seed)
        self.frozen = config.freeze_encoder
        self.projection = model.encoder.projection
        # A frozen encoder sees every image once, not once an episode.
        read = model.encoder.select(model.encoder.latents)
        self.table = embed_bank(read, bank, device) if self.frozen else bank.images.to(device)

    def episodes(self, start: int, stop: int) -> Episodes:
        gathered = self.sampler.batch(start, stop).to(self.device).gather(self.table)
        return gathered.map(self.projection) if self.frozen and self.projection else gathered


def _set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    if config.halve_every:
        factor = 0.5 ** (step // config.halve_every)
        optimizer.param_groups[0]["lr"] = config.learning_rate * factor
