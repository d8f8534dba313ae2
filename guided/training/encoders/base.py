"""The base class of encoders' own trainings, and the functions that run one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from guided.encoder import Encoder
from guided.errors import InputError
from guided.ranges import Checked, Whole
from guided.seeds import seeded_initialisation
from guided.training.config import with_settings
from guided.training.data import Images, LabelledImages
from guided.training.precision import Precision
from guided.training.state import Score

History = list[dict[str, float]]
"""One entry a validation: ``step``, ``score`` if states were compared (lower is better), and any
other figures by name."""


@dataclass(frozen=True)
class TrainingContext(Checked):
    """The circumstances of a training, beside its settings and images.

    Attributes:
        seed: of everything random, by :func:`guided.seeds.generator` with a purpose.
        device: of the encoder and the images.
        precision: of forward passes, by :func:`guided.training.autocast`.
        state_file: where to keep a resumable state, and from which to continue if it exists
            (:class:`guided.training.ResumableState`); None: keep none.
        log_folder: of TensorBoard's logs, by :class:`guided.training.RunLog`; None: log nothing.
        picture_folder: of PNG files; None: draw none.
        score: judges an encoder on the validation classes, lower is better; None unless the
            training sets ``selects``, or if states are to be compared by its own objective.
        score_name: of ``score`` in logs.
        description: the progress bar's.
    """

    seed: Whole = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "float32"
    state_file: Path | None = None
    log_folder: Path | None = None
    picture_folder: Path | None = None
    score: Score | None = None
    score_name: str = "score"
    description: str = "train an encoder"


class EncoderTraining(Checked, ABC):
    """Settings of an encoder that has a training of its own; a subclass is a frozen dataclass.

    ``PixelPCA(components=32)`` in Python is an arm's
    ``{encoder: trained, training: {class_path: PixelPCA, init_args: {components: 32}}}`` in a
    study.

    Attributes:
        fixed: True if the encoder has no weights that episodes could train: learners without
            weights of their own are then only evaluated on it, as on pixels.
        selects: True if :meth:`train` keeps the state whose ``context.score`` is lowest; the
            result then depends on the learner and the episodes that judge it.
    """

    fixed: ClassVar[bool] = False
    selects: ClassVar[bool] = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The attributes whose labels are used, and without which there is no training."""
        return ()

    @abstractmethod
    def build(self, images: LabelledImages) -> Encoder:
        """The encoder before training, on the CPU; training changes its weights, not its shape.

        Weights drawn from torch's global generator are a function of the training's seed.

        Args:
            images: of the training classes, on the CPU, with :attr:`labels` and no others.

        Raises:
            InputError: the settings do not fit the images.
        """

    @abstractmethod
    def train(
        self,
        encoder: Encoder,
        images: LabelledImages,
        validation: LabelledImages | None,
        context: TrainingContext,
    ) -> History:
        """Fit the encoder in place.

        Args:
            encoder: what :meth:`build` made, on the context's device. Its weights, and its buffers,
                are what is kept.
            images: of the training classes, on that device, with :attr:`labels` and no others;
                a label is -1 where it is unknown, or must not be used.
            validation: of other classes, on that device, to choose a state by and never to fit;
                None: there are none.
            context: seed, device, files and the like.

        Returns:
            the validations; empty for a training that makes none.
        """


@dataclass(frozen=True)
class TrainedEncoder:
    """The result of :func:`train_encoder`.

    Attributes:
        encoder: in evaluation mode, on the device of the training.
        history: the validations.
    """

    encoder: Encoder
    history: Sequence[dict[str, float]]


def build_encoder(training: EncoderTraining, images: Images, seed: int = 0) -> Encoder:
    """The encoder of a training before it, in evaluation mode, on the CPU.

    Args:
        training: its settings.
        images: of the training classes.
        seed: of its weights.

    Raises:
        InputError: the settings do not fit the images, or labels are missing.
    """
    shown = _with_labels(training, LabelledImages.from_images(images), required=True)
    with seeded_initialisation(seed, "encoder training", "weights"):
        return training.build(shown).eval()


def train_encoder(
    training: EncoderTraining,
    train: Images,
    validation: Images | None = None,
    context: TrainingContext | None = None,
    **settings: Any,
) -> TrainedEncoder:
    """Train an encoder by a training of its own.

    ``train_encoder(PixelPCA(), splits.train)`` needs nothing else.

    Args:
        training: its settings.
        train: images to fit, with their labels, of which the training sees those that it declares.
        validation: held-out images.
        context: seed, device, files and the like; the defaults if not given.
        settings: fields of :class:`TrainingContext` that replace those of ``context``.

    Raises:
        InputError: the settings do not fit the images, labels are missing, or a loss is not finite.
    """
    context = with_settings(context or TrainingContext(), settings, "train_encoder")
    context = replace(context, device=torch.device(context.device))
    encoder = build_encoder(training, train, context.seed).to(context.device)
    shown = _with_labels(training, LabelledImages.from_images(train, "train"), required=True)
    held_out = None
    if validation is not None:
        held_out = LabelledImages.from_images(validation, "validation")
        held_out = _with_labels(training, held_out, required=False).to(context.device)
    history = training.train(encoder, shown.to(context.device), held_out, context)
    return TrainedEncoder(encoder.eval(), history)


def _with_labels(
    training: EncoderTraining, images: LabelledImages, *, required: bool
) -> LabelledImages:
    """The images with the labels that a training declares, and no others."""
    known = images.labels
    for name in training.labels:
        if required and name not in known:
            there = ", ".join(known) or "no labels"
            raise InputError(
                f"{type(training).__name__}: needs labels of {name!r}; the images have {there}"
            )
    return LabelledImages(
        images.images, {name: known[name] for name in training.labels if name in known}
    )
