"""What is refused before anything is trained, from the networks and learners once they are made."""

from functools import partial

from fewshot.config import made_by
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled_classes
from fewshot.learners.base import Learner
from fewshot.sampler import EpisodeSampler
from fewshot.study.arm_config import ArmConfig
from fewshot.study.config import StudyConfig, is_meta_trained
from fewshot.study.foreign_arms import check_data
from fewshot.study.learner_config import LearnerConfig
from guided.encoder import Encoder
from guided.errors import InputError


def check_images(config: StudyConfig, splits: Splits) -> None:
    """Refuse arms that do not read such images, and meta-training on more than there are.

    Raises:
        InputError: names the key, or what there is too little of.
    """
    for name, arm in config.arms.items():
        check_data(arm, f"arms.{name}", splits.train)
    for learner in config.learners.values():
        if learner.train:
            if learner.train.tasks is None:
                EpisodeSampler(splits.train, learner.train.setting, seed=0)
            EpisodeSampler(splits.validation, learner.train.validation, seed=0)


def check_arm(config: StudyConfig, splits: Splits, name: str, untrained: Encoder) -> None:
    """Refuse an arm whose learners cannot do what the study asks of them.

    Args:
        config: of the study.
        splits: its images.
        name: of the arm.
        untrained: its encoder before training.

    Raises:
        InputError: names the key.
    """
    arm = config.arms[name]
    n_labelled = len(labelled_classes(splits.train, arm.labelled, seed=0))
    for latents in arm.latents:
        for of_learner in config.learners_of(name):
            learner, encoder = config.learners[of_learner], untrained.select(latents)
            if encoder.reads_embeddings:
                learner.check_embeddings(f"learners.{of_learner}")
            for settings in learner.candidates:
                made = partial(learner.learner, **settings)(encoder)
                _check_learner(config, of_learner, made, n_labelled)
            if learner.test_inference and not (arm.has_decoder and latents != "features"):
                raise InputError(
                    f"learners.{of_learner}.test_inference: needs the latents of a VAE and its "
                    f"decoder, which {latents} of the arm {name!r} has not; choose others by arms"
                )
            _check_meta_training(arm, of_learner, learner, n_labelled)


def _check_learner(config: StudyConfig, name: str, made: Learner, n_labelled: int) -> None:
    learner = config.learners[name]
    for option in ("test_augmentation", "test_inference"):
        if getattr(learner, option) and made.reads_images:
            raise InputError(
                f"learners.{name}.{option}: {type(made).__name__} computes no "
                "embedding before it has seen the episode"
            )
    settings = list(config.settings)
    if learner.choose or name == next(iter(config.learners)):
        settings.append(config.selection)
    if learner.train:
        settings += [learner.train.setting, learner.train.validation]
        made.check_classes(n_labelled)
    for setting in settings:
        made.check_ways(setting.n_way)


def _check_meta_training(
    arm: ArmConfig, name: str, learner: LearnerConfig, n_labelled: int
) -> None:
    train = learner.train
    if train is None:
        return
    if train.tasks is None:
        if train.setting.n_way > n_labelled:
            raise InputError(
                f"labelled: {arm.labelled} of the training classes are {n_labelled}, "
                f"too few for {train.setting.n_way}-way training"
            )
        return
    decoded = made_by(train.tasks).needs_decoder and is_meta_trained(arm, learner)
    if decoded and not arm.has_decoder:
        raise InputError(
            f"learners.{name}.train.tasks: {made_by(train.tasks).__name__} needs a decoder; only "
            "an arm that is pretrained with the ELBO has one"
        )
