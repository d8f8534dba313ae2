"""Excitation and inhibition: supervised guidance that ties an attribute to a slice of latents."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import InputError
from guided.figures.grids import labelled_rows, spaced
from guided.figures.traversals import traversal_along
from guided.guidance.adversary import (
    cross_entropy_of_known,
    divergence_from_uniform,
    frozen_logits,
)
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule, Measures
from guided.latents import ATTRIBUTE, attributes_in
from guided.metrics.attribute_latents import follow_factors, probe_attributes
from guided.metrics.deformation_latents import follow_deformations
from guided.ranges import Count, NonNegative, Positive
from guided.vae import VAE, Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = torch.linspace(-3, 3, 7)
"""Places along an attribute's direction in its pictures, in standard deviations."""

N_PICTURES = 3


@dataclass(frozen=True)
class ExcitationInhibition(Guidance):
    """Excites one slice of latents per attribute, and inhibits the attribute in all other latents.

    Source: Guided-VAE (Ding et al., CVPR 2020), §3.2. *Excitation*: a classifier predicts the
    attribute from its slice, -log p(y_t | z_t). *Inhibition*: an adversary learns to predict it
    from the other latents, with its own optimizer; the encoder drives the adversary's prediction
    to the uniform distribution, the authors' code's "1/2" generalised to any number of
    categories.

    Differs from the paper: several attributes, categorical, in slices of any width; the
    inhibition term is the cross-entropy against uniform minus its minimum, the log of the number
    of categories: a divergence that is 0 when the adversary knows nothing. Images whose attribute
    is unknown (target -1) are inhibited like the others, and excite nothing.

    With ``steps="joint"`` inhibition is a term of the main step, against the adversary as the
    last batch left it; then the adversary takes its step, on the same codes. The authors' code
    (github.com/mlpc-ucsd/Guided-VAE) has a third step, of inhibition alone: on a fresh encoding of
    the batch, against the adversary after its step, by the main optimizer, so that the encoder
    takes two steps a batch. ``steps="alternating"`` is that. Differs from their code: classifier
    and adversary have no batch norm, and the adversary sees the main step's draw, not another.

    Args:
        attributes: name -> width of its slice of latents. ``class`` is the class label.
            ``drawer within alphabet`` compares drawers among images of one alphabet only, which
            classifier and adversary are told: for labels whose meaning depends on another.
        excitation: weight of the excitation terms (200 in the authors' code, for one attribute
            on CelebA).
        inhibition: weight of the inhibition terms.
        steps: ``joint``: inhibit in the main step; ``alternating``: in a step of the encoder alone,
            after the adversary's.
        hidden: width of the adversary's two hidden layers.
        cosine: classify by scaled cosine similarity (Gidaris & Komodakis 2018, arXiv:1804.09458,
            §3.2) instead of inner products, so that directions carry the classes.
        cosine_scale: inverse temperature of the cosine similarity.

    Raises:
        InputError: ``alternating`` without inhibition.
    """

    attributes: dict[str, Count]
    excitation: NonNegative = 1.0
    inhibition: NonNegative = 1.0
    hidden: Count = 64
    cosine: bool = False
    cosine_scale: Positive = 10.0
    steps: Literal["joint", "alternating"] = "joint"

    # An attribute may be a deformation in bins: a latent guided by it is measured as one, too.
    measures: ClassVar[Measures] = {
        ATTRIBUTE: (follow_deformations, follow_factors, probe_attributes)
    }

    def __post_init__(self) -> None:
        if self.steps == "alternating" and not self.inhibition:
            raise InputError("ExcitationInhibition.steps: alternating needs inhibition above 0")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(part for name in self.attributes for part in attributes_in(name))
        )

    def build(self, context: GuidanceContext) -> "ExcitationInhibitionModule":
        return ExcitationInhibitionModule(self, context)


class ExcitationInhibitionModule(GuidanceModule):
    """Classifiers and adversaries of :class:`ExcitationInhibition`, and its terms."""

    def __init__(self, settings: ExcitationInhibition, context: GuidanceContext) -> None:
        super().__init__()
        self.settings = settings
        self.classifiers = nn.ModuleDict()
        self.adversaries = nn.ModuleDict()
        self._slices: dict[str, slice] = {}
        self._categories: dict[str, int] = {}
        for name, width in settings.attributes.items():
            for part in attributes_in(name):
                if part not in context.categories:
                    known = ", ".join(context.categories) or "none"
                    raise InputError(
                        f"ExcitationInhibition.attributes: the data have no {part!r}; "
                        f"there are {known}"
                    )
            self._categories[name] = context.categories[attributes_in(name)[0]]
            categories = math.prod(context.categories[part] for part in attributes_in(name))
            inside = context.latents.take(name, width, ATTRIBUTE)
            self._slices[name] = slice(inside[0], inside[-1] + 1)
            key = _module_name(name)
            self.classifiers[key] = nn.Linear(width, categories, bias=not settings.cosine)
            if settings.inhibition:
                self.adversaries[key] = _adversary(
                    name, context.latent_dim - width, settings.hidden, categories
                )

    @property
    def weights(self) -> Mapping[str, float]:
        kinds = {"excitation": self.settings.excitation}
        if self.settings.inhibition:
            kinds["inhibition"] = self.settings.inhibition
        return {f"{kind}/{name}": weight for name in self._slices for kind, weight in kinds.items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        return self.settings.labels

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the slices, as in the settings."""
        return tuple(self._slices)

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        terms = {}
        for name in self._slices:
            terms[f"excitation/{name}"] = cross_entropy_of_known(
                *self._among(name, self.predict(name, z), targets)
            )
            if self.settings.inhibition and not self.alternates:
                terms[f"inhibition/{name}"] = self._inhibition(name, z, targets)
        return terms

    @property
    def alternates(self) -> bool:
        return self.settings.steps == "alternating"

    def encoder_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {f"inhibition/{name}": self._inhibition(name, z, targets) for name in self._slices}

    def _inhibition(self, name: str, z: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits = frozen_logits(self.adversaries[_module_name(name)], self._others(name, z))
        return divergence_from_uniform(self._among(name, logits, targets)[0])

    def predict(self, name: str, z: Tensor) -> Tensor:
        """Logits ``[B, categories]`` of an attribute, from its own slice.

        For ``drawer within alphabet``: the first alphabet's drawers, then the second's …
        """
        inside = z[:, self._slices[name]]
        classifier = self.classifiers[_module_name(name)]
        if not self.settings.cosine:
            return classifier(inside)
        directions = F.normalize(classifier.weight, dim=1)  # type: ignore[arg-type]
        return self.settings.cosine_scale * F.normalize(inside, dim=1) @ directions.T

    def direction(self, name: str) -> Tensor:
        """The unit vector ``[width]``, in an attribute's slice, along which its categories differ
        most in the classifier's weights; towards the last category.

        With two categories it is the difference of their weights: the first principal component.
        """
        classifier = self.classifiers[_module_name(name)]
        weights: Tensor = classifier.weight.detach()  # type: ignore[operator]
        if self.settings.cosine:
            weights = F.normalize(weights, dim=1)
        blocks = weights.unflatten(0, (-1, self._categories[name]))
        centred = (blocks - blocks.mean(1, keepdim=True)).flatten(0, 1)
        main = torch.linalg.svd(centred, full_matrices=False).Vh[0]
        return main if weights[-1] @ main >= weights[0] @ main else -main

    def _among(
        self, name: str, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The logits that compete with each other, and the target among them.

        For an attribute within another these are the logits of the other's value; where that value
        is unknown, so is the target, and the logits are those of its first value.
        """
        attribute, *within = attributes_in(name)
        if not within:
            return logits, targets[attribute]
        value = targets[within[0]]
        blocks = logits.unflatten(1, (-1, self._categories[name]))
        block = blocks[torch.arange(len(value), device=value.device), value.clamp_min(0)]
        return block, targets[attribute].where(value >= 0, -1)

    def _others(self, name: str, z: Tensor) -> Tensor:
        inside = self._slices[name]
        return torch.cat([z[:, : inside.start], z[:, inside.stop :]], 1)

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.settings.inhibition:
            return {}
        return {
            f"adversary/{name}": cross_entropy_of_known(
                *self._among(
                    name,
                    self.adversaries[_module_name(name)](self._others(name, z.detach())),
                    targets,
                )
            )
            for name in self._slices
        }

    def adversary_parameters(self) -> Iterable[nn.Parameter]:
        return self.adversaries.parameters()

    @torch.no_grad()
    def figures(self, vae: VAE, images: Tensor) -> "dict[str, Figure]":
        """``attribute_traversals``: three images for each attribute, beside their reconstructions.

        The first reconstruction is of the unchanged code; in the others the attribute's latents
        move along :meth:`direction`. In the corner is the classifier's answer: with two categories
        the probability of the second, with more the number of the likeliest.
        """
        posterior, chosen = vae.posterior(images), spaced(images, N_PICTURES)
        codes = vae.posterior(chosen).mean
        rows, labels, corners = [], [], []
        for name, inside in self._slices.items():
            axis = codes.new_zeros(codes.shape[1])
            axis[inside] = self.direction(name)
            moved = traversal_along(codes, axis, posterior, STEPS)
            shown = torch.cat([codes[:, None], moved], 1)
            decoded = vae.decode(shown.flatten(0, 1)).unflatten(0, shown.shape[:2]).clamp(0, 1)
            rows.append(torch.cat([vae.encoder.normalised(chosen)[:, None], decoded], 1))
            labels += [name.replace(" within ", "\nwithin "), *[""] * (len(chosen) - 1)]
            corners += self._answers(name, shown)
        columns = ["image", "unchanged", *(f"{step:+g}" for step in STEPS.tolist())]
        return {"attribute_traversals": labelled_rows(torch.cat(rows), labels, columns, corners)}

    def _answers(self, name: str, codes: Tensor) -> list[list[str]]:
        """The classifier's answers for codes ``[n, m, latent_dim]``."""
        if len(attributes_in(name)) > 1:
            return [[]] * len(codes)  # it would have to be told the other attribute's value
        logits = self.predict(name, codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        if logits.shape[2] == 2:
            return [[f"{p:.0%}" for p in row] for row in logits.softmax(2)[..., 1].tolist()]
        return [[str(category) for category in row] for row in logits.argmax(2).tolist()]


def _module_name(attribute: str) -> str:
    """A submodule's name: without dots, and none that ``nn.Module`` uses, such as ``type``."""
    return "of " + attribute.replace(".", "·")


def _adversary(attribute: str, others: int, hidden: int, categories: int) -> nn.Module:
    if not others:
        raise InputError(
            f"ExcitationInhibition.attributes: {attribute!r} takes every latent; "
            "inhibition needs others"
        )
    return nn.Sequential(
        nn.Linear(others, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, categories),
    )
