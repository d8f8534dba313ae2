"""The base classes of a guidance strategy: its settings, and the module that they build."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from guided.backbones import ImageShape
from guided.latents import LatentAllocator
from guided.vae import Posterior


@dataclass(frozen=True)
class GuidanceContext:
    """Build-time context passed to every guidance.

    Attributes:
        input_shape: (C, H, W) of the images.
        latents: hands out slices of the latent vector, in the order of the strategies.
        categories: attribute -> how many values it takes in the training set. Asking for one is
            how a strategy uses labels.
        views: differently deformed copies of each image in a batch, one after the other.
        known: what a batch's targets tell of how each image was deformed, as ``applied NAME``:
            the keys of :attr:`guided.augment.Deformed.amounts`.
    """

    input_shape: ImageShape
    latents: LatentAllocator
    categories: Mapping[str, int]
    views: int = 1
    known: tuple[str, ...] = ()

    @property
    def latent_dim(self) -> int:
        return self.latents.latent_dim


class Guidance(ABC):
    """Settings of a guidance strategy; a subclass is a frozen dataclass.

    ``guidance=[ExcitationInhibition(attributes={"class": 32})]`` in Python is
    ``guidance: [{class_path: ExcitationInhibition, init_args: {attributes: {class: 32}}}]`` in a
    configuration file.
    """

    @abstractmethod
    def build(self, context: GuidanceContext) -> "GuidanceModule":
        """The module of these settings for one model; reserves its latent slices.

        Args:
            context: of that model.

        Raises:
            InputError: the settings do not fit the model or its data.
        """


class GuidanceModule(nn.Module, ABC):
    """Terms added to the ELBO, and the networks that compute them; built by a :class:`Guidance`."""

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """The weight of each term that ``losses`` returns, from the configuration."""

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
            targets: attribute -> int64 ``[B]``; -1: unknown. ``applied NAME`` -> float ``[B]``, how
                much of a known deformation the image got.
        """

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the adversary minimises, with its own optimizer.

        Args:
            z: a draw, detached: an adversary never moves the encoder; ``[B, latent_dim]``.
            targets: attribute -> int64 ``[B]``.
        """
        return {}

    def adversary_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that only ``adversary_losses`` trains."""
        return ()

    def initialise(self, head: nn.Linear) -> None:
        """Adjust how the encoder starts; called once, after it is built.

        Args:
            head: the encoder's last layer, ``[2 * latent_dim, features]``: means, log variances.
        """

    def measurements(
        self, posterior: Posterior, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What is worth watching while training, name -> scalar; minimised by nobody.

        Args:
            posterior: of a training batch.
            targets: that batch's, as for :meth:`losses`.
        """
        return {}

    def pictures(self) -> dict[str, Tensor]:
        """Images worth seeing, name -> ``[n, C, H, W]`` in [0, 1]: a learned basis, say."""
        return {}
