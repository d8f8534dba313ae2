"""The base classes of a guidance strategy: its settings, and the module that they build."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from guided import guidance
from guided.backbones import ImageShape
from guided.latents import LatentAllocator
from guided.metrics.held_out import HeldOut, Measure
from guided.ranges import Checked
from guided.vae import VAE, Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measures = Mapping[str, tuple[Measure, ...]]
"""Role of latents -> measurements of the slices that have it."""

Decode = Callable[[Tensor], Tensor]
"""Latents ``[B, latent_dim]`` to the expected images ``[B, C, H, W]``."""


@dataclass(frozen=True)
class GuidanceContext:
    """Build-time context passed to every guidance.

    Attributes:
        input_shape: (C, H, W) of the images.
        latents: hands out slices of the latent vector, in the order of the strategies.
        categories: attribute -> number of values in the training set.
        views: differently deformed copies of each image in a batch: the first view of every
            image, then the second.
        known: deformations whose amounts the targets of a batch hold, as ``applied NAME``.
        n_images: in the training set; ``None``: not known.
        factors: quantity -> its mean and standard deviation in the training set, by which guidance
            makes targets ``factor NAME`` comparable.
    """

    input_shape: ImageShape
    latents: LatentAllocator
    categories: Mapping[str, int]
    views: int = 1
    known: tuple[str, ...] = ()
    n_images: int | None = None
    factors: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def latent_dim(self) -> int:
        return self.latents.latent_dim


class Guidance(Checked, ABC):
    """Settings of a guidance strategy; a subclass is a frozen dataclass.

    ``guidance=[ExcitationInhibition(attributes={"class": 32})]`` in Python is
    ``guidance: [{class_path: ExcitationInhibition, init_args: {attributes: {class: 32}}}]`` in a
    configuration file.

    Attributes:
        measures: role of latents -> measurements of the slices that have it, made on held-out
            images, with this guidance or without.
        basis: True if a basis is learned whose images are told apart, as by PCA, only where
            training has converged.
    """

    measures: ClassVar[Measures] = {}
    basis: ClassVar[bool] = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The attributes whose labels are used; empty for a strategy without labels."""
        return ()

    @abstractmethod
    def build(self, context: GuidanceContext) -> "GuidanceModule":
        """The module of these settings for one model; reserves its latent slices.

        Args:
            context: of that model.

        Raises:
            InputError: the settings do not fit the model or its data.
        """

    @staticmethod
    def all_measures(used: Iterable["Guidance"] = ()) -> dict[str, list[Measure]]:
        """Role -> the measures that this package's guidances name, and those that are used.

        Not those of all that happen to be imported: another process may have imported others.

        Args:
            used: guidances, of which some may come from outside the package.
        """
        named = [getattr(guidance, name) for name in dir(guidance)]
        strategies: dict[type[Guidance], None] = dict.fromkeys(
            value for value in named if isinstance(value, type) and issubclass(value, Guidance)
        )
        found: dict[str, list[Measure]] = {}
        for strategy in strategies | dict.fromkeys(map(type, used)):
            for role, measures in strategy.measures.items():
                known = found.setdefault(role, [])
                known += [measure for measure in measures if measure not in known]
        return dict(sorted(found.items(), reverse=True))


class GuidanceModule(nn.Module, ABC):
    """Terms added to the ELBO, and the networks that compute them; built by a :class:`Guidance`."""

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """The weight of each term of :meth:`losses`, :meth:`decoded_losses` and
        :meth:`encoder_losses`."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes whose labels are used; empty for a strategy without labels."""
        return ()

    @abstractmethod
    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The strategy's terms, unweighted, each a scalar in nats per image (batch mean).

        Args:
            images: float in [0, 1], ``[B, C, H, W]``.
            posterior: q(z|x) of these images.
            z: a draw from it, ``[B, latent_dim]``.
            targets: attribute -> int64 ``[B]``; -1: unknown. ``factor NAME`` -> float ``[B]``, a
                quantity; NaN: unknown. ``applied NAME`` -> float ``[B]``: the amount of a
                deformation of each image.
        """

    @property
    def replaces_prior(self) -> bool:
        """True if the prior of some latents is the guidance's own; see :meth:`prior_correction`."""
        return False

    def prior_correction(self, z: Tensor) -> Tensor:
        """The log density of the prior N(0, 1) less that of the guidance's own, ``[B]`` in nats.

        Its mean is added to the KL, which the model weights and warms up.

        Args:
            z: a draw from the posterior, ``[B, latent_dim]``.
        """
        return z.new_zeros(len(z))

    @property
    def decodes(self) -> bool:
        """True if there are :meth:`decoded_losses`, which need a decoder that is trained."""
        return False

    @property
    def reads_variance(self) -> bool:
        """True if a term reads the posterior's variance, which an autoencoder has none of."""
        return False

    def decoded_losses(
        self, decode: Decode, posterior: Posterior, z: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Further terms of the main optimizer, of images decoded from codes of the guidance's own.

        Args:
            decode: the model's decoder.
            posterior: q(z|x) of the batch.
            z: a draw from it, ``[B, latent_dim]``.
            generator: of what is drawn here, apart from the posterior's, whose draws stay paired
                with other arms'.
        """
        return {}

    def start_step(self, number: int) -> None:
        """Called before the terms of each training step, for what changes during training.

        Args:
            number: of the step, counted from 0; a training that is resumed goes on counting.
        """

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms that the adversaries minimise, with an optimizer of their own.

        Args:
            z: a draw, detached: an adversary never moves the encoder; ``[B, latent_dim]``.
            targets: attribute -> int64 ``[B]``.
        """
        return {}

    @property
    def alternates(self) -> bool:
        """True if :meth:`encoder_losses` are minimised after each step of the adversaries."""
        return False

    def encoder_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms that move the encoder alone, in a further step of the main optimizer.

        Args:
            z: a draw from a fresh encoding of the batch, after the adversaries' step;
                ``[B, latent_dim]``.
            targets: as for :meth:`losses`.
        """
        return {}

    def adversary_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that only ``adversary_losses`` trains."""
        return ()

    def initialise(self, head: nn.Linear) -> None:
        """Adjust the initial weights of the encoder; called once, after it is built.

        Args:
            head: the encoder's last layer, ``[2 * latent_dim, features]``: means, log variances.
        """

    def measurements(
        self, posterior: Posterior, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Diagnostics of a training batch for the log, name -> scalar.

        Args:
            posterior: of a training batch.
            targets: of the same batch, as for :meth:`losses`.
        """
        return {}

    def examine(self, vae: VAE, held_out: HeldOut) -> list[dict[str, Any]]:
        """Measurements of the trained model, as those of a :data:`Measure`.

        Args:
            vae: the trained model with its decoder, in evaluation mode.
            held_out: images, seen by its encoder.
        """
        return []

    def figures(self, vae: VAE, images: Tensor) -> "dict[str, Figure]":
        """Pictures of what this guidance has learned, name -> figure.

        Args:
            vae: the trained model, in evaluation mode.
            images: uint8 ``[N, C, H, W]``, held out.
        """
        return {}
