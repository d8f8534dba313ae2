"""The configuration of a study, and the checks that need no data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

from fewshot.config import made_by
from fewshot.data.dataset import DatasetFactory
from fewshot.deformations import DeformationFit
from fewshot.episodes import Setting
from fewshot.study.arm_config import ArmConfig
from fewshot.study.deformations import check_deformations
from fewshot.study.disentanglement.config import DisentanglementConfig
from fewshot.study.learner_config import LearnerConfig
from fewshot.study.published import Published
from fewshot.study.recorded import plain_name
from guided.errors import InputError
from guided.ranges import Checked, Count, Several, Whole
from guided.training.config import PretrainConfig
from guided.training.precision import Precision


def is_meta_trained(arm: ArmConfig, learner: LearnerConfig) -> bool:
    """True if a learner is trained on an arm: there must be something to train."""
    return learner.train is not None and (not arm.fixed or made_by(learner.learner).needs_training)


@dataclass(frozen=True)
class StudyConfig(Checked):
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
        fit: how deformations are learned, where an arm or a learner names an arm as
            ``deformations``.
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
    seeds: list[Whole] = field(default_factory=lambda: [0, 1, 2])
    episodes: Several = 1000
    baseline: str | list[str] | None = "vae"
    select_by: Literal["few_shot_error", "negative_elbo"] = "few_shot_error"
    selection_setting: Setting | None = None
    selection_episodes: Count = 300
    episode_seed: Whole = 0
    precision: Precision = "float32"
    threads: Count = 1
    fit: DeformationFit = field(default_factory=DeformationFit)
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
        check_deformations(self.arms, self.learners, self.pretrain)
        for name in ("arms", "learners", "settings", "seeds"):
            if not getattr(self, name):
                raise InputError(f"{name}: at least one is needed")
        check_names("study", [self.study])
        check_names("arms", self.arms)
        check_names("learners", self.learners)
        for name, arm in self.arms.items():
            arm.check(f"arms.{name}")
        for name, learner in self.learners.items():
            learner.check(f"learners.{name}", self.learners)
        for name in self.arms:
            if not self.learners_of(name):
                raise InputError(f"arms.{name}: no learner names it in its arms")
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

    def _repr_html_(self) -> str:
        from fewshot.study.html.notebook import config_html

        return config_html(self)

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
    """Refuse names that would not be told apart in the file of counts, or name no folder.

    Raises:
        InputError: names the key.
    """
    for name in names:
        plain_name(name, key)
        if "|" in name:
            raise InputError(f"{key}: expected a name without '|', got {name!r}")


def _names(baseline: str | list[str] | None) -> list[str]:
    return [baseline] if isinstance(baseline, str) else list(baseline or ())
