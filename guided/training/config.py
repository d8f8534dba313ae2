"""The settings of pretraining."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal, TypeVar

from guided.augment import Augmentation
from guided.backbones import BackboneFactory, Conv4
from guided.errors import InputError
from guided.guidance.base import Guidance
from guided.likelihoods import Bernoulli, Likelihood
from guided.ranges import Checked, Count, NonNegative, Positive, Several, Whole


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """Settings of a pretraining.

    Args:
        backbone: encoder body and mirrored decoder.
        latent_dim: latents in all.
        likelihood: p(x|z): Bernoulli for ink on paper, Gaussian for natural images.
        guidance: settings of the strategies that shape the latents, in the order in which they
            reserve slices.
        augmentation: random deformations of the training images; guidance may read the amounts.
        elbo: minimise the negative ELBO; false: the guidance's terms alone.
        autoencoder: minimise the reconstruction term at the posterior mean alone, without noise and
            KL, whose weights then have no effect; guidance is added as usual.
        kl_weight: β; 1 is the ELBO.
        kl_warmup: steps over which the KL weight rises linearly from 0.
        steps: optimizer steps.
        batch_size: images a step; batch norm needs two.
        learning_rate: of Adam, for encoder, decoder and guidance.
        adversary_learning_rate: of Adam, for the adversaries.
        schedule: constant, or cosine to zero over ``steps``.
        validate_every: steps between validations; the best state is kept.
        patience: validations without improvement after which training stops; 0: never.
        log_every: steps between logged scalars. Losses are checked for NaN then and at validations.
        shuffle: draw a new order of the training images for each pass; false: the order in which
            they are stored, as in the Guided-VAE authors' code.

    Raises:
        InputError: a number is out of its range.
    """

    backbone: BackboneFactory = field(default_factory=lambda: partial(Conv4))
    latent_dim: Count = 64
    likelihood: Callable[[], Likelihood] = field(default_factory=lambda: partial(Bernoulli))
    guidance: list[Guidance] = field(default_factory=list)
    augmentation: Augmentation = field(default_factory=Augmentation)
    kl_weight: NonNegative = 1.0
    kl_warmup: Whole = 500
    steps: Count = 2000
    batch_size: Several = 128
    learning_rate: Positive = 1e-3
    adversary_learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    validate_every: Count = 250
    patience: Whole = 0
    log_every: Count = 50
    shuffle: bool = True
    elbo: bool = True
    autoencoder: bool = False

    def __post_init__(self) -> None:
        if self.autoencoder and not self.elbo:
            raise InputError("autoencoder: decodes images; leave elbo true")


C = TypeVar("C")


def with_settings(config: C, settings: Mapping[str, Any], owner: str) -> C:
    """A configuration with some of its fields replaced.

    Args:
        config: a dataclass.
        settings: field -> value.
        owner: the function that the settings were given to, for the message.

    Raises:
        InputError: a setting is no field; names the nearest one and all others.
    """
    known = [field.name for field in fields(config)]  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise InputError(
                f"{owner}: no setting is called {name!r}{meant} Settings: {', '.join(known)}"
            )
    return replace(config, **settings)  # type: ignore[type-var]
