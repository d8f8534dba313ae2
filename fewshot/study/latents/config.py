"""The configuration of a study of latents, and the checks that need no data."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from fewshot.data.dataset import DatasetFactory
from fewshot.study.config import check_baselines, check_names, partner_arms
from fewshot.study.published import Published
from guided.augment import Augmentation
from guided.errors import InputError
from guided.guidance.base import Guidance
from guided.ranges import Checked, Count, Several, Whole
from guided.training.classifier import ClassifierConfig
from guided.training.config import PretrainConfig


@dataclass(frozen=True)
class ProbeArm(Checked):
    """One kind of encoder whose latents are probed.

    Args:
        encoder: pretrained; random: the same network, untrained.
        guidance: strategies that shape a pretrained encoder's latents; none: a plain VAE.
        augmentation: of its pretraining, in place of the study's; null: the study's.
        baseline: the arms that it is paired with, if not the study's: a name, or several.
    """

    encoder: Literal["pretrained", "random"] = "pretrained"
    guidance: list[Guidance] = field(default_factory=list)
    augmentation: Augmentation | None = None
    baseline: str | list[str] | None = None

    def __post_init__(self) -> None:
        for name in ("guidance", "augmentation"):
            if getattr(self, name) and self.encoder != "pretrained":
                raise InputError(f"{name}: a {self.encoder} encoder is not trained")


@dataclass(frozen=True)
class ProbeStudyConfig(Checked):
    """Arms × numbers of latents × seeds: error of a linear classifier, quality of samples.

    Args:
        study: its name.
        dataset: where images come from; its training and test images are of the same classes.
        arms: name -> encoder.
        latent_dims: how many latents.
        pretrain: how every pretrained arm is trained; ``guidance`` is the arm's own,
            ``latent_dim`` is each of ``latent_dims``.
        steps: lengths of training, each measured; a longer training continues a shorter one. Each
            but the last must end at a validation. Empty: that of ``pretrain`` alone.
        seeds: one pretraining each.
        baseline: the arm, or the arms, that the others are paired with; null: only arms that name
            their own are paired.
        features: how the classifier is trained whose features samples are measured by.
        samples: decoded from the prior of each model.
        threads: of each cell's computation on a CPU; cells are computed side by side instead.
        published: errors that others report for some of ``latent_dims``, shown beside ours.
    """

    study: str
    dataset: DatasetFactory
    arms: dict[str, ProbeArm]
    latent_dims: list[Count] = field(default_factory=lambda: [16, 32, 64])
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    steps: list[Count] = field(default_factory=list)
    seeds: list[Whole] = field(default_factory=lambda: [0, 1, 2])
    baseline: str | list[str] | None = "vae"
    features: ClassifierConfig = field(default_factory=ClassifierConfig)
    samples: Several = 10000
    threads: Count = 1
    published: list[Published] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_names("study", [self.study])
        check_names("arms", self.arms)
        check_baselines(self.baseline, self.arms)
        for name in ("latent_dims", "seeds"):
            values = getattr(self, name)
            if not values:
                raise InputError(f"{name}: at least one is needed")
            if len(set(values)) < len(values):
                raise InputError(f"{name}: {values} holds one twice")
        if self.steps:
            self._check_steps()
        if self.pretrain.guidance:
            raise InputError("pretrain.guidance: belongs to the arms of a study")
        if self.pretrain.autoencoder:
            raise InputError("pretrain.autoencoder: no prior to draw the samples from; use compare")
        if self.pretrain.latent_dim != PretrainConfig.latent_dim:
            raise InputError("pretrain.latent_dim: a study has latent_dims instead")
        for figures in self.published:
            figures.check(f"published.{figures.name}", [str(dim) for dim in self.latent_dims])

    def _check_steps(self) -> None:
        steps, every = self.steps, self.pretrain.validate_every
        if any(a >= b for a, b in pairwise(steps)):
            raise InputError(f"steps: expected ascending numbers, got {steps}")
        for length in steps[:-1]:
            if length % every:
                raise InputError(
                    f"steps: {length} is no multiple of pretrain.validate_every ({every}), where "
                    "the state is kept that a longer training continues"
                )
        if self.pretrain.schedule != "constant":
            raise InputError(
                "steps: a longer training continues a shorter one only with pretrain.schedule: "
                f"constant, got {self.pretrain.schedule}"
            )
        if self.pretrain.patience:
            raise InputError("steps: needs pretrain.patience 0; trainings must not end before")

    @property
    def lengths(self) -> tuple[int | None, ...]:
        """Steps of the trainings of an encoder; None: those of ``pretrain``."""
        return tuple(self.steps) or (None,)

    def partners_of(self, arm: str) -> list[str]:
        """The arms that an arm is paired with; none for a baseline."""
        return partner_arms(arm, self.arms[arm].baseline, self.baseline)
