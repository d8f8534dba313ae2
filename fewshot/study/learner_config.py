"""The configuration of one learner of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from fewshot.config import describe, made_by, settings_of
from fewshot.config.build import build_options
from fewshot.learners.base import LearnerFactory
from fewshot.meta_train import TrainConfig
from guided.augment import Augmentation
from guided.errors import InputError
from guided.ranges import Checked
from guided.short_run import Langevin


@dataclass(frozen=True)
class LearnerConfig(Checked):
    """One learner under comparison.

    Args:
        learner: the class and its settings.
        train: meta-train it, from each arm's encoder, before it is evaluated; null: only evaluate.
        trained_by: the learner whose meta-trained encoder takes the place of the arm's; null: none.
        choose: setting of the learner -> the values that are tried. For each encoder, the
            combination with the lowest error on the study's selection episodes, of the validation
            classes, is used in the test; of equal ones the first.
        arms: those that it is used on; null: all.
        baseline: the learners that it is paired with, arm by arm: a name, or several; null: arms
            are paired.
        deformations: the arm whose encoder says which images are alike; what is learned between
            these (:class:`~fewshot.deformations.DeformationFit`) is the learner's ``prior``; null:
            the prior of its own settings.
        test_augmentation: at test time an image's embedding is the mean over it and ``views``
            copies, deformed within these limits, all images alike; null: of the image alone.
            Learners that differ in this alone are trained once.
        test_inference: at test time an image's latents are its posterior means after these steps
            up the log joint density of the VAE's decoder; null: the means. For arms that are
            pretrained with the ELBO, and learners without training.
        group: a name shared by learners that differ only in the amount of meta-training: one curve
            of a figure, one line of a table; null: the learner's own.
    """

    learner: LearnerFactory
    train: TrainConfig | None = None
    trained_by: str | None = None
    choose: dict[str, list[Any]] = field(default_factory=dict)
    arms: list[str] | None = None
    baseline: str | list[str] | None = None
    deformations: str | None = None
    test_augmentation: Augmentation | None = None
    test_inference: Langevin | None = None
    group: str | None = None

    def _repr_html_(self) -> str:
        from fewshot.study.html.notebook import settings_html

        return settings_html(made_by(self.learner).__name__, self)

    def check(self, key: str, others: Mapping[str, "LearnerConfig"]) -> None:
        """Refuse settings that contradict each other.

        Args:
            key: the learner's key in a configuration, for the message.
            others: the study's learners by name.

        Raises:
            InputError: which names the key.
        """
        if made_by(self.learner).needs_training and self.train is None:
            raise InputError(
                f"{key}.train: missing; this learner must be meta-trained before it is tested, "
                "e.g. train: {steps: 1000}"
            )
        if self.test_augmentation and not self.test_augmentation.active:
            raise InputError(
                f"{key}.test_augmentation: deforms nothing; set rotation, scale or another limit"
            )
        if self.test_inference and (self.train or self.trained_by):
            raise InputError(
                f"{key}.test_inference: meta-training moves the encoder away from its decoder; "
                "remove train and trained_by, or this"
            )
        if self.trained_by is not None:
            self._check_trainer(f"{key}.trained_by", others)
        if self.deformations is not None:
            self._check_prior(f"{key}.deformations")
        self._candidates(f"{key}.choose")
        if self.choose and self.train:
            raise InputError(
                f"{key}.choose: its meta-training depends on {', '.join(self.choose)}; meta-train "
                "another learner and name that one as trained_by"
            )

    def check_embeddings(self, key: str) -> None:
        """Refuse what needs images, where the dataset has embeddings alone.

        Args:
            key: the learner's key in a configuration, for the message.

        Raises:
            InputError: which names the key.
        """
        named = {
            "test_augmentation": self.test_augmentation,
            "train.tasks": self.train and self.train.tasks,
        }
        for name, value in named.items():
            if value is not None:
                raise InputError(
                    f"{key}.{name}: needs images, and the dataset has embeddings alone; remove it"
                )

    def _check_trainer(self, key: str, others: Mapping[str, "LearnerConfig"]) -> None:
        if self.train:
            raise InputError(f"{key}: this learner has a meta-training of its own; remove one")
        trainer = others.get(str(self.trained_by))
        if trainer is None or trainer.train is None:
            what = "no learner is called" if trainer is None else "there is no train of"
            raise InputError(f"{key}: {what} {self.trained_by!r}; name one that is meta-trained")

    def _check_prior(self, key: str) -> None:
        """Refuse deformations for a learner without a prior, or with another one."""
        made = made_by(self.learner)
        if "prior" not in settings_of(self.learner):
            raise InputError(
                f"{key}: {made.__name__} has no prior of deformations; choose FreeFormMatching"
            )
        # A configuration that is written out in full gives the default.
        given = settings_of(self.learner)["prior"] != settings_of(made)["prior"]
        if given or "prior" in self.choose:
            raise InputError(f"{key}: the learner has a prior of its own; remove one of the two")
        if self.train:
            raise InputError(f"{key}: a prior has no part in meta-training; remove train")

    def _candidates(self, key: str) -> list[dict[str, Any]]:
        options = build_options(made_by(self.learner), self.choose, key, skip=1)
        if "batch_norm" in options:
            raise InputError(
                f"{key}.batch_norm: what an answer may depend on is not chosen; compare learners"
            )
        for name, values in options.items():
            if not values:
                raise InputError(f"{key}.{name}: at least one value is needed, e.g. [1, 2]")
        return [dict(zip(options, values, strict=True)) for values in product(*options.values())]

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """The combinations of values to choose from, the last setting's changing first."""
        return self._candidates("choose")

    @cached_property
    def training(self) -> dict[str, Any]:
        """Plain values of everything that its training depends on."""
        return {"learner": describe(self.learner), "train": describe(self.train)}

    @cached_property
    def testing(self) -> dict[str, Any]:
        """Plain values of what its errors depend on besides its encoder and what was chosen."""
        facts: dict[str, Any] = {"learner": describe(self.learner)}
        if self.test_augmentation:
            facts["test_augmentation"] = describe(self.test_augmentation)
        if self.test_inference:
            facts["test_inference"] = describe(self.test_inference)
        if self.trained_by:  # takes its encoder alone, not the weights of the learner
            facts["trained_by"] = True
        return facts
