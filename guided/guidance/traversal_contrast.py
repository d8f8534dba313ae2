"""Traversals that a small network can tell apart: the contrastive regulariser of InfoGAN-CR."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from guided.backbones import ImageShape
from guided.backbones.batch_norm import group_statistics
from guided.errors import InputError
from guided.guidance.base import Decode, Guidance, GuidanceContext, GuidanceModule
from guided.ranges import Count, NonNegative, Several, Whole
from guided.vae import Posterior

SMALLEST = 16  # pixels: the network halves images four times


@dataclass(frozen=True)
class TraversalContrast(Guidance):
    """Two images decoded from codes that share one latent must show which latent it is.

    Source: Lin, Thekumparampil, Fanti & Oh (2020), arXiv:1906.06034: the contrastive regulariser of
    InfoGAN-CR, min over decoder and network of the network's cross-entropy. They do not compete:
    the network, whose layers but the last are spectrally normalised, is weak, so that latents have
    to change images in ways that are easy to tell apart. Any injective decoder lets a strong one
    succeed: its accuracy is no score of disentanglement.

    Differs from the paper: a VAE takes the generator's place. Codes are draws of the batch's
    posterior, each latent shuffled among the images on its own, because the decoder is trained
    there and nothing else keeps images realistic. No gradient reaches the encoder. The pairs are a
    batch of their own for the decoder's batch norm, and leave its running statistics alone.

    Args:
        weight: of the term, >= 0.
        latents: width of a slice ``traversal`` whose latents are told apart; ``None``: all latents,
            at least 2.
        start: the step from which the decoder is moved; until then the network alone learns.
        gap: least difference, when the decoder begins to be moved, of the latents that are not
            shared, in standard deviations of the batch, >= 0. Large differences first: without a
            gap the network learns several times more slowly.
        gap_steps: over which the gap falls to 0.
        width: channels of the network's first layers.

    Raises:
        InputError: a setting is out of its range.
    """

    weight: NonNegative = 30.0
    latents: Several | None = None
    start: Whole = 1000
    gap: NonNegative = 2.0
    gap_steps: Count = 1000
    width: Count = 32

    def gap_at(self, step: int) -> float:
        """The gap in a step of training, counted from 0."""
        return self.gap * min(1.0, max(0.0, 1 - (step - self.start) / self.gap_steps))

    def build(self, context: GuidanceContext) -> "TraversalContrastModule":
        if context.latent_dim < 2 or min(context.input_shape[1:]) < SMALLEST:
            raise InputError(
                f"TraversalContrast: needs at least 2 latents and images of {SMALLEST} × "
                f"{SMALLEST}, got {context.latent_dim} and {context.input_shape[1:]}"
            )
        places = list(range(context.latent_dim))
        if self.latents is not None:
            places = context.latents.take("traversal", self.latents)
        return TraversalContrastModule(self, places, context.input_shape)


class TraversalContrastModule(GuidanceModule):
    """The network of :class:`TraversalContrast`, and its term.

    Args:
        settings: of the guidance.
        latents: indices of those that are told apart.
        shape: (C, H, W) of the images.
    """

    def __init__(self, settings: TraversalContrast, latents: list[int], shape: ImageShape) -> None:
        super().__init__()
        self.settings, self.latents, self.number = settings, latents, 0
        self.network = pair_classifier(shape, len(latents), settings.width)
        self.accuracy: Tensor | None = None

    @property
    def weights(self) -> Mapping[str, float]:
        return {"traversal_contrast": self.settings.weight}

    @property
    def decodes(self) -> bool:
        return True

    def start_step(self, number: int) -> None:
        self.number = number

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {}

    def decoded_losses(
        self, decode: Decode, posterior: Posterior, z: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``traversal_contrast``: the network's cross-entropy, log of the latents by chance."""
        moves = self.number >= self.settings.start and torch.is_grad_enabled()
        gap = self.settings.gap_at(self.number)
        pairs = draw_pairs(z.detach().float(), self.latents, gap, generator)
        with group_statistics(1), torch.set_grad_enabled(moves):
            first, second = decode(torch.cat([pairs.first, pairs.second])).chunk(2)
        # Spectral norm keeps vectors of its own in single precision.
        with torch.autocast(z.device.type, enabled=False):
            logits = self.network(torch.cat([first, second], 1).float())
        self.accuracy = (logits.argmax(1) == pairs.shared).float().mean()
        return {"traversal_contrast": F.cross_entropy(logits, pairs.shared)}

    def measurements(
        self, posterior: Posterior, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {} if self.accuracy is None else {"traversal_contrast_accuracy": self.accuracy}


class Pairs(NamedTuple):
    """Codes that share one of some latents, and all latents but those.

    Attributes:
        first: ``[B, latent_dim]``.
        second: ``[B, latent_dim]``.
        shared: int64 ``[B]``, which of these latents it is.
    """

    first: Tensor
    second: Tensor
    shared: Tensor


def draw_pairs(
    z: Tensor, latents: list[int], gap: float = 0.0, generator: torch.Generator | None = None
) -> Pairs:
    """Draw pairs of codes from the product of the marginals of some latents.

    Args:
        z: draws of different images, ``[B, latent_dim]``.
        latents: indices of those latents, k; the others are shuffled together.
        gap: least difference of those that are not shared, in standard deviations.
        generator: of the draws, on the device of ``z``.
    """
    n, k = len(z), len(latents)
    chance = torch.rand(n, 2 * k + 2, generator=generator, device=z.device)
    order = chance[:, :-1].argsort(0)
    own = z[:, latents]
    first, second = own.gather(0, order[:, :k]), own.gather(0, order[:, k : 2 * k])
    if gap:
        # As far apart as asked, each moved by half of what is missing.
        step = second - first
        missing = (gap * own.std(0) - step.abs()).clamp_min(0)
        away = 0.5 * missing * torch.where(step < 0, -1.0, 1.0)
        first, second = first - away, second + away
    shared = (k * chance[:, -1]).long().clamp(max=k - 1)
    chosen = F.one_hot(shared, k).bool()
    second = torch.where(chosen, first, second)
    others = z[order[:, -1]]
    codes = []
    for values in (first, second):
        code = others.clone()
        code[:, latents] = values
        codes.append(code)
    return Pairs(codes[0], codes[1], shared)


def pair_classifier(shape: ImageShape, classes: int, width: int = 32) -> nn.Sequential:
    """Two images, stacked on their channels, to logits ``[B, classes]``.

    Args:
        shape: (C, H, W) of an image.
        classes: which latent they share.
        width: channels of the first two convolutions; the others have twice as many.
    """
    channels, height, columns = 2 * shape[0], *shape[1:]
    layers: list[nn.Module] = []
    for n in (width, width, 2 * width, 2 * width):
        layers += [spectral_norm(nn.Conv2d(channels, n, 4, 2, 1)), nn.LeakyReLU(0.2)]
        channels, height, columns = n, height // 2, columns // 2
    hidden = spectral_norm(nn.Linear(channels * height * columns, 128))
    return nn.Sequential(*layers, nn.Flatten(), hidden, nn.LeakyReLU(0.2), nn.Linear(128, classes))
