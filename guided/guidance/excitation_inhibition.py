"""Supervised guidance: a slice of latents carries an attribute, the others must not."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.vae import Posterior


@dataclass(frozen=True)
class ExcitationInhibition(Guidance):
    """Excite one latent slice per attribute, inhibit the attribute in all other latents.

    Source: Guided-VAE (Ding et al., CVPR 2020), §3.2. *Excitation*: a classifier predicts the
    attribute from its slice, -log p(y_t | z_t). *Inhibition*: an adversary learns to predict it
    from the other latents, with its own optimizer; the encoder drives the adversary's prediction
    to the uniform distribution, the authors' code's "1/2" generalised to any number of
    categories.

    Differs from the paper: several attributes, categorical, in slices of any width; the
    inhibition term is the cross-entropy against uniform minus its minimum, the log of the number
    of categories: a divergence that is 0 when the adversary knows nothing. Main step and
    adversary step take turns (the authors' code has three steps a batch). Images whose attribute
    is unknown (target -1) are inhibited with the others, and excite nothing.

    Args:
        attributes: name -> width of its latent slice. ``class`` is the bank's class label.
            ``drawer within alphabet`` tells drawers apart among images of one alphabet only, which
            classifier and adversary are told: where the same value means another thing in each.
        excitation: weight of the excitation terms (200 in the authors' code, for one attribute
            on CelebA).
        inhibition: weight of the inhibition terms.
        hidden: width of the adversary's two hidden layers.
        cosine: classify by scaled cosine similarity (Gidaris & Komodakis 2018, arXiv:1804.09458,
            §3.2) instead of inner products, so that directions carry the classes.
        cosine_scale: the inverse temperature of that similarity.
    """

    attributes: dict[str, int]
    excitation: float = 1.0
    inhibition: float = 1.0
    hidden: int = 64
    cosine: bool = False
    cosine_scale: float = 10.0

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
            for part in parts(name):
                if part not in context.categories:
                    known = ", ".join(context.categories) or "none"
                    raise InputError(
                        f"ExcitationInhibition.attributes: the data have no {part!r}; "
                        f"there are {known}"
                    )
            self._categories[name] = context.categories[parts(name)[0]]
            categories = math.prod(context.categories[part] for part in parts(name))
            inside = context.latents.take(name, width)
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
        return tuple(dict.fromkeys(part for name in self._slices for part in parts(name)))

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the slices, as configured."""
        return tuple(self._slices)

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        terms = {}
        for name in self._slices:
            terms[f"excitation/{name}"] = _cross_entropy(
                *self._among(name, self.predict(name, z), targets)
            )
            if self.settings.inhibition:
                terms[f"inhibition/{name}"] = self._divergence_from_uniform(name, z, targets)
        return terms

    def predict(self, name: str, z: Tensor) -> Tensor:
        """Logits ``[B, categories]`` of an attribute, from its own slice.

        Of ``drawer within alphabet``: of the first alphabet's drawers, then of the second's …
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
        """The logits that compete, and the target: within another attribute, those of its value.

        Where that value is unknown, so is the target; the logits are then of its first value.
        """
        attribute, *within = parts(name)
        if not within:
            return logits, targets[attribute]
        value = targets[within[0]]
        blocks = logits.unflatten(1, (-1, self._categories[name]))
        block = blocks[torch.arange(len(value), device=value.device), value.clamp_min(0)]
        return block, targets[attribute].where(value >= 0, -1)

    def _others(self, name: str, z: Tensor) -> Tensor:
        inside = self._slices[name]
        return torch.cat([z[:, : inside.start], z[:, inside.stop :]], 1)

    def _divergence_from_uniform(
        self, name: str, z: Tensor, targets: Mapping[str, Tensor]
    ) -> Tensor:
        adversary = self.adversaries[_module_name(name)]
        # Detached weights: this term moves the encoder, never the adversary.
        frozen = {key: value.detach() for key, value in adversary.named_parameters()}
        logits = functional_call(adversary, frozen, self._others(name, z))
        logits, _ = self._among(name, logits, targets)
        categories = logits.shape[1]
        cross_entropy = -logits.log_softmax(1).mean(1)
        return (cross_entropy - math.log(categories)).mean()

    def adversary_losses(self, z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.settings.inhibition:
            return {}
        return {
            f"adversary/{name}": _cross_entropy(
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


def parts(name: str) -> tuple[str, ...]:
    """The attributes in a slice's name: ``drawer`` and ``alphabet`` in ``drawer within alphabet``,
    itself alone in any other."""
    return tuple(name.split(" within ", maxsplit=1))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Over the images whose target is known; 0 where none is."""
    total = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp_min(1)


def _module_name(attribute: str) -> str:
    """A name for a submodule: without dots, and none that ``nn.Module`` has (``type``, say)."""
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
