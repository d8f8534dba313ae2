"""The configuration of a study, and the checks that need no data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from fewshot.config import made_by
from fewshot.data.dataset import DatasetFactory
from fewshot.episodes import Setting
from fewshot.study.disentanglement.config import DisentanglementConfig
from fewshot.study.learner_config import LearnerConfig
from fewshot.study.published import Published
from guided.augment import Augmentation
from guided.backbones import BackboneFactory, ImageShape
from guided.encoder import Encoder
from guided.errors import InputError
from guided.guidance.base import Guidance
from guided.training.config import PretrainConfig
from guided.training.encoders.base import EncoderTraining
from guided.training.precision import Precision


@dataclass(frozen=True)
class ArmConfig:
    """One encoder under comparison.

    Args:
        encoder: pretrained; random: the same network, untrained; pixels: no network; checkpoint:
            read from a file; trained: by a ``training`` of its own.
        guidance: strategies that shape a pretrained encoder's latents; none: a plain VAE.
        labelled: share of the training classes whose labels guidance, a training and meta-training
            may use; pretraining sees all images. The classes depend on the seed, not on the arm.
        baseline: the arms that it is paired with, if not the study's: a name, or several.
        latents: what the learners are fed, one after the other: all, a slice's name, several
            names joined by +, features.
            The first one is what the arm's best state is chosen by.
        checkpoint: the file of an encoder that was trained elsewhere; ``{seed}`` in its path stands
            for the study's seed, without it one encoder serves all seeds.
        elbo: false: trained by its guidance alone, without the VAE's own terms.
        autoencoder: true: trained by the reconstruction, without noise and KL, and its guidance.
        augmentation: of its pretraining, in place of the study's; null: the study's.
        steps: of its pretraining, in place of the study's; null: the study's.
        backbone: of its network, in place of that of the study's ``pretrain``; null: that one.
        training: of a trained encoder: a class and its settings, e.g. PixelPCA.
        group: a name shared by arms that differ only in ``labelled``: one line of a figure, one
            name in a table; null: the arm's own.
    """

    encoder: Literal["pretrained", "random", "pixels", "checkpoint", "trained"] = "pretrained"
    guidance: list[Guidance] = field(default_factory=list)
    labelled: float = 1.0
    baseline: str | list[str] | None = None
    latents: list[str] = field(default_factory=lambda: ["all"])
    checkpoint: Path | None = None
    elbo: bool = True
    autoencoder: bool = False
    augmentation: Augmentation | None = None
    steps: int | None = None
    backbone: BackboneFactory | None = None
    training: EncoderTraining | None = None
    group: str | None = None

    def check(self, key: str) -> None:
        """Refuse settings that contradict each other.

        Args:
            key: the arm's key in a configuration, for the message.

        Raises:
            InputError: which names the key.
        """
        if not 0 < self.labelled <= 1:
            raise InputError(f"{key}.labelled: expected a share in (0, 1], got {self.labelled}")
        if not self.latents:
            raise InputError(f"{key}.latents: at least one is needed, e.g. [all]")
        kind = f"a {self.encoder} encoder"
        if self.guidance and self.encoder != "pretrained":
            raise InputError(f"{key}.guidance: {kind} cannot be guided")
        if not self.elbo and not self.guidance:
            raise InputError(
                f"{key}.elbo: without it the arm needs guidance, or nothing is trained"
            )
        if self.autoencoder and self.encoder != "pretrained":
            raise InputError(f"{key}.autoencoder: {kind} is not pretrained")
        if self.autoencoder and not self.elbo:
            raise InputError(f"{key}.autoencoder: decodes images; leave elbo true")
        for name in ("augmentation", "steps", "backbone"):
            if getattr(self, name) is not None and self.encoder == "trained":
                raise InputError(f"{key}.{name}: {kind} is trained as its training says")
        for name in ("augmentation", "steps"):
            if getattr(self, name) is not None and self.encoder != "pretrained":
                raise InputError(f"{key}.{name}: {kind} is not trained here")
        if self.backbone is not None and self.encoder not in ("pretrained", "random"):
            raise InputError(f"{key}.backbone: {kind} has none of its own")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"{key}.steps: expected at least 1, got {self.steps}")
        if self.checkpoint is None and self.encoder == "checkpoint":
            raise InputError(f"{key}.checkpoint: missing; name the encoder's file")
        if self.checkpoint is not None and self.encoder != "checkpoint":
            raise InputError(f"{key}.checkpoint: {kind} is not read from a file")
        if self.training is None and self.encoder == "trained":
            raise InputError(f"{key}.training: missing; name its class, e.g. PixelPCA")
        if self.training is not None and self.encoder != "trained":
            raise InputError(f"{key}.training: {kind} has none; set encoder to trained")

    @property
    def fixed(self) -> bool:
        """True if the encoder has no weights that episodes could train."""
        return self.encoder == "pixels" or (self.training is not None and self.training.fixed)

    @property
    def has_decoder(self) -> bool:
        """True if the encoder's decoder is kept, that of a VAE."""
        return self.encoder == "pretrained" and self.elbo

    def checkpoint_file(self, seed: int) -> Path:
        """The encoder's file for a seed."""
        return Path(str(self.checkpoint).replace("{seed}", str(seed)))


def load_checkpoint(file: Path, shape: ImageShape) -> Encoder:
    """Load the encoder of an arm from a file, with all its latents.

    Raises:
        InputError: the file is missing or holds no encoder, was made for images of another shape,
            or its output is a projection, which an arm's latents would leave out.
    """
    encoder = Encoder.load(file)
    if encoder.input_shape != shape:
        raise InputError(
            f"{file}: made for images {encoder.input_shape}, the dataset's are {shape}"
        )
    if encoder.projection:
        raise InputError(f"{file}: ends in a projection; a study needs an encoder without one")
    return encoder.select("all")


def is_meta_trained(arm: ArmConfig, learner: LearnerConfig) -> bool:
    """True if a learner is trained on an arm: there must be something to train."""
    return learner.train is not None and (not arm.fixed or made_by(learner.learner).needs_training)


@dataclass(frozen=True)
class StudyConfig:
    """Arms × seeds × learners × settings, on the same episodes.

    Args:
        study: its name.
        dataset: where images come from.
        arms: name -> encoder.
        learners: name -> learner.
        pretrain: how every pretrained arm is trained; ``guidance`` is the arm's own.
        settings: shapes of the test episodes.
        seeds: one pretraining each.
        episodes: test episodes for each setting, the same for all.
        baseline: the arm, or the arms, that the others are paired with; null: only arms that name
            their own are paired.
        select_by: which state of a pretraining is kept: lowest few-shot error on the validation
            classes (first learner), or lowest negative ELBO on them (of an autoencoder,
            reconstruction error).
        selection_setting: shape of the selection episodes, by which states of a pretraining and
            settings of a learner are chosen; null: the first of ``settings``.
        selection_episodes: their number.
        episode_seed: of the test and the validation episodes.
        precision: of pretraining and meta-training: float32, or bfloat16. Errors are measured in
            float32.
        threads: of each cell's computation on a CPU; cells are computed side by side instead.
        published: errors that others report for some of ``settings``, shown beside ours.
        disentanglement: score every encoder's latents against the factors of the test images,
            beside an untrained network and the factors themselves, as ``random`` and ``truth``;
            null: do not.
    """

    study: str
    dataset: DatasetFactory
    arms: dict[str, ArmConfig]
    learners: dict[str, LearnerConfig]
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    settings: list[Setting] = field(default_factory=lambda: [Setting()])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    episodes: int = 1000
    baseline: str | list[str] | None = "vae"
    select_by: Literal["few_shot_error", "negative_elbo"] = "few_shot_error"
    selection_setting: Setting | None = None
    selection_episodes: int = 300
    episode_seed: int = 0
    precision: Precision = "float32"
    threads: int = 1
    published: list[Published] = field(default_factory=list)
    disentanglement: DisentanglementConfig | None = None

    def __post_init__(self) -> None:
        check_baselines(self.baseline, self.arms)
        for name, learner in self.learners.items():
            for other in _names(learner.baseline):
                if other not in self.learners:
                    raise InputError(f"learners.{name}.baseline: no learner is called {other!r}")
            for used in learner.arms or ():
                if used not in self.arms:
                    raise InputError(f"learners.{name}.arms: no arm is called {used!r}")
        for name in ("arms", "learners", "settings", "seeds"):
            if not getattr(self, name):
                raise InputError(f"{name}: at least one is needed")
        check_names("arms", self.arms)
        check_names("learners", self.learners)
        for name, arm in self.arms.items():
            arm.check(f"arms.{name}")
        for name, learner in self.learners.items():
            learner.check(f"learners.{name}", self.learners)
        for name in self.arms:
            if not self.learners_of(name):
                raise InputError(f"arms.{name}: no learner names it in its arms")
        if min(self.seeds) < 0:
            raise InputError(f"seeds: expected >= 0, got {min(self.seeds)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds: {self.seeds} holds one twice")
        for setting in self.settings:
            if setting.within:
                raise InputError(
                    "settings.within: for training only; fewshot lake tests within an alphabet"
                )
        labels = [setting.label for setting in self.settings]
        if len(set(labels)) < len(labels):
            raise InputError(f"settings: {', '.join(labels)} holds one twice")
        if self.pretrain.guidance:
            raise InputError("pretrain.guidance: belongs to the arms of a study")
        if not self.pretrain.elbo:
            raise InputError("pretrain.elbo: belongs to the arms of a study")
        if self.pretrain.autoencoder:
            raise InputError("pretrain.autoencoder: belongs to the arms of a study")
        for figures in self.published:
            figures.check(f"published.{figures.name}", labels)
        for name, least in (("episodes", 2), ("selection_episodes", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        for name, arm in self.arms.items():
            if self.select_by == "negative_elbo" and not arm.elbo:
                raise InputError(
                    f"arms.{name}.elbo: a state without it cannot be chosen by select_by: "
                    "negative_elbo; use few_shot_error"
                )

        for name, kind in (("random", "random"), ("truth", None)):
            if self.disentanglement and name in self.arms and self.arms[name].encoder != kind:
                raise InputError(
                    f"arms.{name}: with disentanglement, this name is that of a row of its own"
                )

    def learners_of(self, arm: str) -> list[str]:
        """Names of the learners that are used on an arm."""
        return [
            name
            for name, learner in self.learners.items()
            if learner.arms is None or arm in learner.arms
        ]

    @property
    def selection(self) -> Setting:
        """Shape of the selection episodes."""
        return self.selection_setting or self.settings[0]

    def trained_as(self, learner: str) -> str:
        """The first learner with the same training: its weights are this learner's too.

        Of one that names another as ``trained_by``, only the encoder.
        """
        facts = self.learners[self.learners[learner].trained_by or learner].training
        return next(name for name, other in self.learners.items() if other.training == facts)

    def beginning_of(self, learner: str) -> str | None:
        """The learner with the longest meta-training that this learner's can continue, if any.

        The two differ in ``train.steps`` alone, and the shorter one ends at a validation of the
        longer one: continuing from its last state gives the longer training, to the bit.
        """
        return self._beginnings[learner]

    @cached_property
    def _beginnings(self) -> dict[str, str | None]:
        return {name: self._beginning(learner) for name, learner in self.learners.items()}

    def _beginning(self, learner: LearnerConfig) -> str | None:
        whole = learner.train
        found: dict[str, int] = {}
        for name, other in self.learners.items():
            part = other.train
            if whole is None or part is None or part.steps >= whole.steps:
                continue
            longer = replace(other, train=replace(part, steps=whole.steps))
            if longer.training == learner.training and part.steps % whole.validate_every == 0:
                found[name] = part.steps
        return max(found, key=found.__getitem__, default=None)

    def partners_of(self, arm: str, learner: str) -> list[tuple[str, str]]:
        """The arms and learners that an arm with a learner is paired with; none for a baseline."""
        others = self.learners[learner].baseline
        if others is not None:
            return [(arm, other) for other in _names(others) if other != learner]
        names = partner_arms(arm, self.arms[arm].baseline, self.baseline)
        return [(name, learner) for name in names]


Baseline = str | list[str] | None


class _Paired(Protocol):
    @property
    def baseline(self) -> Baseline: ...


def partner_arms(arm: str, own: Baseline, usual: Baseline) -> list[str]:
    """The arms that an arm is paired with: its own baselines, else the study's.

    A study's baseline is paired with none of the study's others.
    """
    names = _names(usual if own is None else own)
    if own is None and arm in names:
        return []
    return [name for name in names if name != arm]


def check_baselines(usual: Baseline, arms: Mapping[str, _Paired]) -> None:
    """Refuse baselines that are no arms, or are named twice.

    Args:
        usual: of the study.
        arms: of which each may have its own.

    Raises:
        InputError: names the key.
    """
    named = {f"arms.{name}.": arm.baseline for name, arm in arms.items()}
    for key, baseline in {"": usual, **named}.items():
        for name in _names(baseline):
            if name not in arms:
                raise InputError(f"{key}baseline: no arm is called {name!r}")
            if _names(baseline).count(name) > 1:
                raise InputError(f"{key}baseline: {name!r} is named twice")


def check_names(key: str, names: Iterable[str]) -> None:
    """Refuse names that would not be told apart in the file of counts.

    Raises:
        InputError: names the key.
    """
    for name in names:
        if "|" in name:
            raise InputError(f"{key}: expected a name without '|', got {name!r}")


def _names(baseline: str | list[str] | None) -> list[str]:
    return [baseline] if isinstance(baseline, str) else list(baseline or ())
