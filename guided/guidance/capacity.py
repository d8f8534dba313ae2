"""β-VAE, with or without a capacity that grows during training."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.ranges import Count, NonNegative
from guided.vae import Posterior


@dataclass(frozen=True)
class Capacity(Guidance):
    """Holds the KL of the posterior near a capacity that grows from 0.

    Source: Burgess et al. (2018), arXiv:1804.03599: ``γ |KL - C|``, where C grows linearly.
    With ``nats: 0`` the term is the KL itself: beside the ELBO that is β-VAE (Higgins et al. 2017)
    with β = 1 + weight. It has no latents of its own.

    Differs from the paper: the term is added to the ELBO, whose KL counts on, so that above the
    capacity the KL weighs 1 + weight and below it 1 - weight. With ``kl_weight: 0`` of the
    pretraining, the objective is the paper's.

    Args:
        weight: γ, >= 0; 1000 in the paper.
        nats: C in the end; 25 in the paper.
        steps: over which C grows, and then stays; 100,000 in the paper.

    Raises:
        InputError: a setting is out of its range.
    """

    weight: NonNegative = 100.0
    nats: NonNegative = 25.0
    steps: Count = 1000

    def at(self, step: int) -> float:
        """The capacity, in nats, in a step of training, counted from 0."""
        return self.nats * min(1.0, step / self.steps)

    def build(self, context: GuidanceContext) -> "CapacityModule":
        return CapacityModule(self)


class CapacityModule(GuidanceModule):
    """The term of :class:`Capacity`."""

    def __init__(self, settings: Capacity) -> None:
        super().__init__()
        self.settings, self.nats = settings, settings.at(0)

    @property
    def weights(self) -> Mapping[str, float]:
        return {"capacity": self.settings.weight}

    @property
    def reads_variance(self) -> bool:
        return True

    def start_step(self, number: int) -> None:
        self.nats = self.settings.at(number)

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"capacity": (posterior.precise().kl().sum(1).mean() - self.nats).abs()}
