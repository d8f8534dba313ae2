"""Generalized contrastive learning: nonlinear ICA from an auxiliary variable."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.guidance.contrast import LabelScores, PairScores, logistic_loss, other_rows
from guided.latents import ATTRIBUTE, attributes_in
from guided.ranges import Count, NonNegative
from guided.vae import Posterior

VIEW = "view"
"""The auxiliary variable that needs no labels: the latents of the other view."""


@dataclass(frozen=True)
class GeneralizedContrast(Guidance):
    """Tells images with their own auxiliary variable from images with another's, latent by latent.

    Source: generalized contrastive learning (Hyvärinen, Sasaki & Turner 2019, arXiv:1805.08651): a
    logistic regression between pairs (x, u) and (x, u*), whose score is a sum over latents,
    r(x, u) = Σ_i ψ_i(h_i(x), u) + a(h(x)) + b(u). If x is an invertible function of sources that
    are independent given u, and u changes their distributions enough, each latent follows one
    source. That is a theorem about infinite data; Lyu & Fu (ICML 2022) bound the error of finite
    samples. Nothing says that images of one class have independent sources, so on images the term
    is guidance like any other.

    u* is the auxiliary variable of the next images in the batch, whose order is random; it may be
    of the same value by chance, as the ratio asks for. ``shuffle: false`` of the training spoils
    that. h is the posterior mean, as learners read it.

    Differs from the paper: h is an encoder whose latents are fewer than pixels, and may be
    trained with the ELBO at the same time.

    Args:
        auxiliary: an attribute, such as ``class``; ``drawer within alphabet``, which compares
            drawers among images of one alphabet; or ``view``: the latents of the image's other
            view, ψ_i of the two views' latent i (Gresele et al. 2019, arXiv:1905.06642), which
            needs ``augmentation.views: 2`` and no labels.
        weight: of the term, >= 0.
        latents: width of a slice of its own, named like the auxiliary variable; ``None``: all
            latents.
        hidden: width of the networks of each latent, at least 1.
        negatives: other images' auxiliary variables for each image, at least 1. The term is
            2 log 2 by chance with one.

    Raises:
        InputError: a setting is out of its range.
    """

    auxiliary: str = "class"
    weight: NonNegative = 100.0
    latents: Count | None = None
    hidden: Count = 10
    negatives: Count = 1

    @property
    def labels(self) -> tuple[str, ...]:
        return () if self.auxiliary == VIEW else attributes_in(self.auxiliary)

    def build(self, context: GuidanceContext) -> "GeneralizedContrastModule":
        if self.auxiliary == VIEW and context.views != 2:
            raise InputError(
                f"GeneralizedContrast: auxiliary view needs augmentation.views 2, got "
                f"{context.views}"
            )
        for part in self.labels:
            if part not in context.categories:
                known = ", ".join(context.categories) or "none"
                raise InputError(
                    f"GeneralizedContrast.auxiliary: the data have no {part!r}; there are {known}"
                )
        places = list(range(context.latent_dim))
        if self.latents is not None:
            role = ATTRIBUTE if self.labels else None
            places = context.latents.take(self.auxiliary, self.latents, role)
        sizes = [context.categories[part] for part in self.labels]
        inside = slice(places[0], places[-1] + 1)
        return GeneralizedContrastModule(self, inside, sizes, context.views)


class GeneralizedContrastModule(GuidanceModule):
    """The scores of :class:`GeneralizedContrast`, and its term.

    Args:
        settings: of the guidance.
        inside: its latents.
        sizes: numbers of values of the auxiliary attributes; empty for views.
        views: of each image in a batch, which holds the first of all images, then the next.
    """

    def __init__(
        self, settings: GeneralizedContrast, inside: slice, sizes: list[int], views: int = 1
    ) -> None:
        super().__init__()
        self.settings, self.inside, self.sizes, self.views = settings, inside, sizes, views
        width = inside.stop - inside.start
        self.scores: nn.Module = (
            LabelScores(width, math.prod(sizes), settings.hidden)
            if sizes
            else PairScores(width, settings.hidden)
        )

    @property
    def weights(self) -> Mapping[str, float]:
        return {f"contrast/{self.settings.auxiliary}": self.settings.weight}

    @property
    def attributes(self) -> tuple[str, ...]:
        return self.settings.labels

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        loss = logistic_loss(*self._scored(posterior.mean[:, self.inside], targets))
        return {f"contrast/{self.settings.auxiliary}": loss}

    def _scored(
        self, y: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scores of the true pairs ``[B]`` and of others ``[negatives, B]``; which count."""
        if self.sizes:
            return self._of_labels(y, targets)
        steps = range(self.settings.negatives + 1)
        # The batch holds the first view of every image, then the second.
        other = y.unflatten(0, (2, -1)).flip(0)
        if len(steps) > other.shape[1]:
            raise InputError(
                f"GeneralizedContrast.negatives: {self.settings.negatives} need a batch of more "
                f"images, got {other.shape[1]}"
            )
        first, *rest = [self.scores(y, other.roll(k, 1).flatten(0, 1)) for k in steps]
        return first, torch.stack(rest), None

    def _of_labels(self, y: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        assert isinstance(self.scores, LabelScores)
        attribute, *within = (targets[name] for name in self.attributes)
        u, known, groups = attribute, attribute >= 0, torch.zeros_like(attribute)
        if within:
            groups = within[0]
            u, known = groups * self.sizes[0] + attribute, known & (groups >= 0)
            # Each view has groups of its own: an image's other view is no other image.
            view = torch.arange(len(groups), device=groups.device) * self.views // len(groups)
            groups = groups * self.views + view
        rows, compared = other_rows(groups.where(known, -1), self.settings.negatives)
        u = u.where(known, 0)
        features = self.scores.features(y)
        positive = self.scores.score(features, u)
        negative = torch.stack([self.scores.score(features, u[other]) for other in rows])
        return positive, negative, compared

    @torch.no_grad()
    def measurements(
        self, posterior: Posterior, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The share of pairs that are told apart, true ones and others alike."""
        mean = posterior.precise().mean[:, self.inside]  # outside autocast, as the weights are
        positive, negative, known = self._scored(mean, targets)
        right = 0.5 * (positive > 0).float() + 0.5 * (negative < 0).float().mean(0)
        if known is not None:
            right = right[known]
        return {f"contrast/{self.settings.auxiliary} accuracy": right.mean()}
