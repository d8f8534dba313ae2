"""Guidance by known deformations: unsupervised, from augmentation whose amounts are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided import affine
from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule, Measures
from guided.latents import DEFORMATION
from guided.metrics.deformation_latents import find_deformed, follow_deformations
from guided.ranges import NonNegative, Positive
from guided.vae import Posterior

UNITS: dict[str, float] = affine.UNITS | {
    "thickness": 0.3,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
}
"""The change that one unit of a deformation latent stands for when training starts."""


@dataclass(frozen=True)
class KnownDeformation(Guidance):
    """Makes latents follow the known difference of two views of an image, and content ignore it.

    Needs ``augmentation.views: 2``. *Equivariance*: the difference of the two views' deformation
    latents, times a learned gain, is the difference of the amounts by which they were deformed.
    *Agreement*: among all images of a batch, the content latents of one view find the other view
    of the same image (normalised-temperature cross-entropy, NT-Xent: Chen et al. 2020,
    arXiv:2002.05709, §2.1). Together with :class:`DeformablePCA`, latents of the same name are the
    same latents; with its ``exchange``, the light decoder renders one view's content under the
    other view's deformation.

    Differences are compared, not values: the pose of the original image is not known.

    Args:
        deformations: names of the augmentation's deformations that have a latent, in the order of
            their latents; the content ignores the others too. Beside ``flip`` not ``rotation``,
            ``shear`` and ``translation_x``, whose amounts a flip reverses.
        equivariance: weight of half the squared errors of the differences, in units of
            :data:`UNITS`: nats of a Gaussian of that deviation, summed over deformations.
        agreement: weight of the cross-entropy, nats per image.
        temperature: divisor of the content's cosines, positive.

    Raises:
        InputError: a setting is out of its range.
    """

    deformations: tuple[str, ...] = ("rotation", "scale", "shear")
    equivariance: NonNegative = 10.0
    agreement: NonNegative = 30.0
    temperature: Positive = 0.1

    measures: ClassVar[Measures] = {DEFORMATION: (follow_deformations, find_deformed)}

    def __post_init__(self) -> None:
        for name in self.deformations:
            if self.deformations.count(name) > 1:
                raise InputError(f"KnownDeformation.deformations: {name!r} is asked for twice")

    def build(self, context: GuidanceContext) -> "KnownDeformationModule":
        return KnownDeformationModule(self, context)


class KnownDeformationModule(GuidanceModule):
    """The terms of :class:`KnownDeformation`, and its gains."""

    latents: Tensor
    content: Tensor
    units: Tensor

    def __init__(self, settings: KnownDeformation, context: GuidanceContext) -> None:
        super().__init__()
        if context.views != 2:
            raise InputError(f"KnownDeformation: needs augmentation.views 2, got {context.views}")
        self.deformations = settings.deformations
        for name in self.deformations:
            if name not in context.known:
                drawn = ", ".join(context.known) or "nothing"
                raise InputError(
                    f"KnownDeformation.deformations: augmentation draws no {name!r}, or "
                    f"flip may reverse it; known: {drawn}"
                )
        latents = [context.latents.share(name, DEFORMATION) for name in self.deformations]
        content = sorted(set(range(context.latent_dim)) - set(latents))
        if not content:
            raise InputError("KnownDeformation: no latent is left for the content")
        self.register_buffer("latents", torch.tensor(latents, dtype=torch.int64), persistent=False)
        self.register_buffer("content", torch.tensor(content), persistent=False)
        units = torch.tensor([UNITS[name] for name in self.deformations])
        self.register_buffer("units", units, persistent=False)
        self.gains = nn.Parameter(torch.ones(len(latents)))
        self.temperature = settings.temperature
        self._weights = {"agreement": settings.agreement}
        if self.deformations:
            self._weights["equivariance"] = settings.equivariance

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        # Means, as learners read them: the noise of a draw would blur the cosines of wide latents.
        mean = posterior.precise().mean
        # Autocast would round the cosines, which are then divided by the temperature.
        with torch.autocast(z.device.type, enabled=False):
            terms = {"agreement": self._agreement(mean)}
            if self.deformations:
                told, latent = self._differences(mean, targets)
                error = told - self.gains * latent
                terms["equivariance"] = 0.5 * error.square().sum(1).mean()
        return terms

    def _agreement(self, mean: Tensor) -> Tensor:
        own = F.normalize(mean[:, self.content], dim=1)
        similarity = own @ own.T / self.temperature
        position = torch.arange(len(own), device=own.device)
        similarity = similarity.scatter(1, position[:, None], float("-inf"))  # not itself
        # The batch holds the first view of every image, then the second.
        return F.cross_entropy(similarity, position.roll(len(own) // 2))

    def _differences(self, mean: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Second view minus first: amounts, in units, and deformation latents; each ``[B, n]``."""
        done = torch.stack([targets[f"applied {name}"] for name in self.deformations], 1)
        first, second = (done / self.units).chunk(2)
        before, after = mean[:, self.latents].chunk(2)
        return second - first, after - before

    @torch.no_grad()
    def measurements(
        self, posterior: Posterior, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Correlation of each deformation latent's difference with the amount's; mean cosines of
        the content of two views and of different images."""
        content = F.normalize(posterior.mean[:, self.content], dim=1)
        first, second = content.chunk(2)
        cosines = first @ second.T
        off_diagonal = ~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
        found = {
            "content cosine of two views": cosines.diagonal().mean(),
            "content cosine of two images": cosines[off_diagonal].mean(),
        }
        if self.deformations:
            told, latent = self._differences(posterior.mean, targets)
            both = torch.stack([told.T, latent.T], 1)
            for name, pair in zip(self.deformations, both, strict=True):
                found[f"correlation of differences, {name}"] = torch.corrcoef(pair)[0, 1]
        return found
