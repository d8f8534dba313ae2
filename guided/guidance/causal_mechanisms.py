"""Causal mechanisms: latents of labelled factors, and a prior in which factors cause each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided.errors import InputError
from guided.figures.grids import labelled_rows
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule, Measures
from guided.guidance.flows import CausalFlow, causal_order
from guided.latents import ATTRIBUTE, FACTOR
from guided.metrics.attribute_latents import follow_factors
from guided.metrics.deformation_latents import follow_deformations
from guided.metrics.held_out import HeldOut
from guided.metrics.interventions import intervention_errors
from guided.ranges import Count, NonNegative
from guided.seeds import generator
from guided.vae import VAE, Posterior, precise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Values of a factor in its pictures, in standard deviations from its mean."""


@dataclass(frozen=True)
class CausalMechanisms(Guidance):
    """Gives each labelled factor latents, with a prior that follows a known graph of causes.

    Source: ICM-VAE (Komanduri et al., IJCAI 2024, arXiv:2306.01213). *Prior*: the factors' latents
    are z_i = exp(s_i(z_pa)) ⊙ ε_i + t_i(z_pa), with noise ε ~ N(0, 1) and z_pa the latents of the
    causes of factor i. *Labels*: with its label u_i, a latent is N(m_i(u_i, z_pa), 1).

    Differs from the paper: the encoder's output is z, of which ε is computed, and not the reverse:
    the same model by change of variables. The prior takes the place of N(0, 1) in the KL of these
    latents, for a draw of the posterior, with its weight and warm-up. Each factor has a network of
    its own. By default a latent is drawn to the label itself, m_i = u_i: where causes determine
    an effect, a mechanism that shifts with the causes can explain the label away.

    Rivals with the same labels: without causes (``{light: [], position: []}``), and without the
    prior as well, ``prior=False``: plain regression.

    Args:
        factors: factor -> its direct causes, of the same mapping, in the order of the latents.
        width: latents of each factor.
        weight: of the label term, half the squared errors in units of the factors' standard
            deviations, nats of a Gaussian up to a constant; summed over latents, a mean over the
            images whose label is known.
        prior: learn the prior; false: N(0, 1), as without guidance.
        mechanism: ``identity``: m_i = u_i. ``affine``: exp(s'_i(z_pa)) u_i + t'_i(z_pa) with s' and
            t' in (0, 1), as in the authors' code.
        hidden: width of the networks' hidden layers.

    Raises:
        InputError: a setting is out of its range, or the graph has circles or unknown causes.
    """

    factors: dict[str, list[str]]
    width: Count = 1
    weight: NonNegative = 10.0
    prior: bool = True
    mechanism: Literal["identity", "affine"] = "identity"
    hidden: Count = 32

    measures: ClassVar[Measures] = {ATTRIBUTE: (follow_deformations, follow_factors)}

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not self.factors:
            raise InputError(f"{name}.factors: expected at least one factor, got none")
        try:
            causal_order(self.factors)
        except InputError as error:
            raise InputError(f"{name}.{error}") from error

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(FACTOR + name for name in self.factors)

    def build(self, context: GuidanceContext) -> "CausalMechanismsModule":
        return CausalMechanismsModule(self, context)


class CausalMechanismsModule(GuidanceModule):
    """The flows of :class:`CausalMechanisms`, and its terms.

    Attributes:
        names: of the factors.
        flow: noises to the factors' latents; None without a prior.
        mechanism: labels to the factors' latents; None for the identity.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: CausalMechanisms, context: GuidanceContext) -> None:
        super().__init__()
        self.settings, self.names = settings, tuple(settings.factors)
        for name in self.names:
            if name not in context.factors:
                known = ", ".join(context.factors) or "none"
                raise InputError(
                    f"CausalMechanisms.factors: the data have no factor {name!r} that varies; "
                    f"there are {known}"
                )
        latents = [context.latents.take(name, settings.width, ATTRIBUTE) for name in self.names]
        self.inside = slice(latents[0][0], latents[-1][-1] + 1)
        scales = torch.tensor([context.factors[name] for name in self.names])
        self.register_buffer("mean", scales[:, 0])
        self.register_buffer("deviation", scales[:, 1])
        shape = settings.factors, settings.width, settings.hidden
        self.flow = CausalFlow(*shape) if settings.prior else None
        self.mechanism = CausalFlow(*shape, "positive") if settings.mechanism == "affine" else None

    @property
    def weights(self) -> Mapping[str, float]:
        return {"causal_labels": self.settings.weight}

    @property
    def attributes(self) -> tuple[str, ...]:
        return self.settings.labels

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        labels = torch.stack([targets[name] for name in self.attributes], 1).float()
        known = ~labels.isnan()
        # In single precision at least: also under automatic mixed precision.
        with torch.autocast(z.device.type, enabled=False):
            own = precise(z[:, self.inside])
            expected = self.expected(self.standardised(labels.nan_to_num()), own)
            error = (own - expected).square().unflatten(1, (-1, self.settings.width)).sum(2)
            of_factor = (error * known).sum(0) / known.sum(0).clamp_min(1)
            return {"causal_labels": 0.5 * of_factor.sum()}

    def standardised(self, labels: Tensor) -> Tensor:
        """Labels ``[B, factors]`` in standard deviations from their means in training."""
        return (labels - self.mean) / self.deviation

    def expected(self, labels: Tensor, z: Tensor) -> Tensor:
        """The means of the factors' latents given their labels and causes.

        Args:
            labels: standardised, ``[B, factors]``.
            z: the factors' latents, ``[B, factors * width]``.
        """
        repeated = labels.repeat_interleave(self.settings.width, 1)
        if self.mechanism is None:
            return repeated
        parts = [self.mechanism.conditional(k, z) for k in range(len(self.names))]
        scale, shift = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return scale.exp() * repeated + shift

    @property
    def replaces_prior(self) -> bool:
        return self.flow is not None

    def prior_correction(self, z: Tensor) -> Tensor:
        """-log p(z) + log N(z; 0, 1) of the factors' latents, ``[B]``."""
        assert self.flow is not None
        with torch.autocast(z.device.type, enabled=False):
            own = precise(z[:, self.inside])
            noise, log_determinant = self.flow.noise(own)
            return log_determinant + 0.5 * (noise.square() - own.square()).sum(1)

    @torch.no_grad()
    def counterfactual(self, codes: Tensor, name: str, values: Tensor) -> Tensor:
        """Codes after a factor is set and its effects have followed, ``[B, latent_dim]``.

        Without a prior of its own, nothing follows.

        Args:
            codes: before, ``[B, latent_dim]``.
            name: of the factor.
            values: of the factor, in its unit, ``[B]``.
        """
        at, width = self.names.index(name), self.settings.width
        place = slice(at * width, (at + 1) * width)
        codes = codes.clone()
        own = codes[:, self.inside]
        labels = self.mean.expand(len(codes), -1).clone()
        labels[:, at] = values
        value = self.expected(self.standardised(labels), own)[:, place]
        if self.flow is None:
            own[:, place] = value
        else:
            codes[:, self.inside] = self.flow.intervened(own, name, value)
        return codes

    @torch.no_grad()
    def figures(self, vae: VAE, images: Tensor) -> "dict[str, Figure]":
        """``counterfactuals``: an image, and it decoded after each factor is set to each value."""
        image = images[len(images) // 2 :][:1]
        code = vae.posterior(image).mean
        steps = torch.tensor(STEPS, device=code.device)
        codes = torch.stack(
            [
                torch.cat([code, self.counterfactual(code.expand(len(steps), -1), name, values)])
                for k, name in enumerate(self.names)
                for values in [self.mean[k] + self.deviation[k] * steps]
            ]
        )
        decoded = vae.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        shown = vae.encoder.normalised(image).expand(len(codes), *image.shape[1:])
        rows = torch.cat([shown[:, None], decoded], 1).clamp(0, 1)
        columns = ["image", "unchanged", *(f"{step:+g} sd" for step in STEPS)]
        return {"counterfactuals": labelled_rows(rows, [f"do({n})" for n in self.names], columns)}

    @torch.no_grad()
    def examine(self, vae: VAE, held_out: HeldOut) -> list[dict[str, Any]]:
        """Errors of the images that the model imagines after interventions, encoded again.

        Each factor that causes others is set to that of another image, for every image.
        """
        if held_out.counterfactual is None or not set(self.names) <= set(held_out.factors):
            return []
        measured = []
        slices = {name: vae.layout.slices[name] for name in self.names}
        codes = torch.from_numpy(held_out.latents).to(self.mean)
        # As the model draws them, so that its blur is no effect of the intervention.
        before = _seen_again(vae, codes)
        factors = {name: held_out.factors[name].numpy() for name in self.names}
        for name in self.names:
            order = torch.randperm(
                len(held_out.images), generator=generator(held_out.seed, "interventions", name)
            )
            values = held_out.factors[name][order]
            truth = held_out.counterfactual(held_out.factors, name, values)
            if all(torch.equal(truth[n], held_out.factors[n]) for n in self.names if n != name):
                continue
            after = _seen_again(vae, self.counterfactual(codes, name, values.to(self.mean)))
            true_after = {name: truth[name].numpy() for name in self.names}
            measured += intervention_errors(name, before, after, slices, factors, true_after)
        return measured


def _seen_again(vae: VAE, codes: Tensor) -> NDArray[np.floating]:
    """The codes ``[n, latent_dim]`` of decoded codes."""
    again = [vae.posterior(vae.decode(some)).mean for some in codes.split(1024)]
    return torch.cat(again).cpu().numpy()
