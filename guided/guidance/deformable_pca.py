"""Deformable PCA: unsupervised guidance by a light decoder that paints and deforms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.affine import AFFINE, UNITS, AffineName, affine, warp
from guided.errors import InputError
from guided.figures.grids import sheet_figure
from guided.figures.traversals import rows_of_latents, spread, traversal_figure
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule, Measures
from guided.latents import DEFORMATION
from guided.metrics.deformation_latents import find_deformed, follow_deformations
from guided.ranges import NonNegative, Positive
from guided.vae import VAE, Posterior, precise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INITIAL_LOGVAR = -4.0
INITIAL_NOISE = 0.07  # of the deformation itself, in its unit


@dataclass(frozen=True)
class DeformablePCA(Guidance):
    """A light decoder paints the content latents on a linear basis and deforms the result.

    Source: Guided-VAE (Ding et al., CVPR 2020), §3.1:
    ``L_DPCA = E_q ‖x - τ(z_def) ∘ (z_cont Bᵀ)‖² + Σ_{j≠k} (b_jᵀ b_k)²``.

    Each deformation is one latent, and its amount is gain · z, in the units and with the signs of
    :mod:`guided.affine`; the gain of ``scale`` differs between the axes.

    The deformation is the identity at initialisation: the encoder's means of the deformation
    latents start at 0, with a small variance. Gains of 0 would do that too, but the light decoder
    would send these latents no gradient, and the VAE's own decoder would claim them for content.

    Differs from the paper: the basis has a mean image, as PCA and the authors' code have; the
    deformations compose into one affine map, sampled once; scales are exponentials, so that they
    stay positive. With ``likelihood="bernoulli"`` and ``orthogonality="absolute"`` the terms are
    those of the authors' code (github.com/mlpc-ucsd/Guided-VAE), whose orthogonality term has
    to be weighted by 1 / batch size to match. There, the rotation has the opposite sign, and the
    deformation has learned offsets and a scale that is linear in its latent, so that it may turn
    negative and mirror the image.

    Args:
        deformations: names of the deformations, each a latent, in the order of their latents.
        likelihood: ``gaussian``: the squared error, as in the paper; ``bernoulli``: a sigmoid on
            the basis and a cross-entropy, as in the authors' code.
        orthogonality: penalty of the inner products of the basis: their square or absolute value.
        weight: of the light decoder's reconstruction error (0.5 in the authors' code).
        orthogonality_weight: of the orthogonality term.
        exchange: render each view's content under the other view's deformation. With two views
            (``augmentation.views: 2``), content then cannot hold what differs between them.
        blur: standard deviation, in pixels, of a Gaussian that smooths the light decoder's error
            before it is squared once more, for a further term; 0: no such term. Thin strokes that
            do not overlap attract each other only when smoothed, as in image registration.
        blur_weight: of the smoothed error.
        gains: deformation -> initial gain; :data:`guided.affine.UNITS` if not given. A larger gain
            makes the light decoder discover a deformation sooner.

    Raises:
        InputError: a setting is out of its range.
    """

    deformations: tuple[AffineName, ...] = ("rotation", "scale")
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    orthogonality: Literal["square", "absolute"] = "square"
    weight: NonNegative = 1.0
    orthogonality_weight: NonNegative = 1.0
    exchange: bool = False
    blur: NonNegative = 0.0
    blur_weight: NonNegative = 100.0
    gains: dict[str, Positive] | None = None

    measures: ClassVar[Measures] = {DEFORMATION: (follow_deformations, find_deformed)}
    basis: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.deformations:
            raise InputError("DeformablePCA.deformations: at least one is needed")
        for asked in self.deformations:
            if self.deformations.count(asked) > 1:
                raise InputError(f"DeformablePCA.deformations: {asked!r} is asked for twice")
        for name in set(self.gains or {}) - set(self.deformations):
            raise InputError(f"DeformablePCA.gains: {name!r} is not among the deformations")

    def build(self, context: GuidanceContext) -> "DeformablePCAModule":
        return DeformablePCAModule(self, context)


class DeformablePCAModule(GuidanceModule):
    """The light decoder of :class:`DeformablePCA`, and its terms."""

    content: Tensor

    def __init__(self, settings: DeformablePCA, context: GuidanceContext) -> None:
        super().__init__()
        if settings.exchange and context.views != 2:
            raise InputError(
                f"DeformablePCA.exchange: needs augmentation.views 2, got {context.views}"
            )
        self.settings, self.input_shape = settings, context.input_shape
        deformations = settings.deformations
        self.latent_of = {name: context.latents.share(name, DEFORMATION) for name in deformations}
        content = sorted(set(range(context.latent_dim)) - set(self.latent_of.values()))
        if not content:
            raise InputError("DeformablePCA: no latent is left for the content")
        self.register_buffer("content", torch.tensor(content), persistent=False)
        channels, height, width = context.input_shape
        self.basis = nn.Linear(len(content), channels * height * width)
        start = {**UNITS, **(settings.gains or {})}
        self.gains = nn.ParameterDict(
            {
                name: nn.Parameter(torch.full((2 if name == "scale" else 1,), start[name]))
                for name in deformations
            }
        )
        self._weights = {
            "deformable_pca": settings.weight,
            "orthogonality": settings.orthogonality_weight,
        }
        if settings.blur:
            self._weights["deformable_pca_smoothed"] = settings.blur_weight

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    @torch.no_grad()
    def initialise(self, head: nn.Linear) -> None:
        latents = list(self.latent_of.values())
        means, logvars = latents, [i + head.out_features // 2 for i in latents]
        head.weight[means + logvars] = 0
        head.bias[means] = 0
        head.bias[logvars] = torch.tensor([self._initial_logvar(name) for name in self.latent_of])

    def _initial_logvar(self, name: str) -> float:
        """A small log variance; smaller for a large gain, which amplifies the posterior's noise."""
        gain = float(self.gains[name].detach().abs().max())
        return min(INITIAL_LOGVAR, 2 * math.log(INITIAL_NOISE / max(gain, INITIAL_NOISE)))

    def affine(self, z: Tensor) -> Tensor:
        """The map from output to input coordinates, ``[B, 2, 3]``, of latents
        ``[B, latent_dim]``."""

        def amount(name: str) -> Tensor:
            if name not in self.latent_of:
                return z.new_zeros(len(z), 1)
            return z[:, self.latent_of[name], None] * self.gains[name]

        moves = {name: amount(name).squeeze(1) for name in AFFINE if name != "scale"}
        return affine(**moves, scale=amount("scale").expand(-1, 2))

    def canvas(self, z: Tensor) -> Tensor:
        """The content before it is deformed, ``[B, C, H, W]``."""
        flat = self.basis(z.index_select(1, self.content))
        canvas: Tensor = flat.view(-1, *self.input_shape)
        return canvas.sigmoid() if self.settings.likelihood == "bernoulli" else canvas

    def render(self, z: Tensor, content: Tensor | None = None) -> Tensor:
        """The light decoder: τ(z_def) ∘ (z_cont Bᵀ), ``[B, C, H, W]``; outside is 0.

        Args:
            z: gives the deformation latents, ``[B, latent_dim]``.
            content: gives the content latents, ``[B, latent_dim]``; ``z`` if not given.
        """
        return warp(self.canvas(z if content is None else content), self.affine(z))

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        # Single precision also inside autocast: bfloat16 would round places to parts of a pixel.
        with torch.autocast(z.device.type, enabled=False):
            return self._terms(images, precise(z))

    def _terms(self, images: Tensor, z: Tensor) -> dict[str, Tensor]:
        # The batch holds one view of every image, then the other of every image.
        content = z.roll(len(z) // 2, 0) if self.settings.exchange else z
        rendered = self.render(z, content)
        if self.settings.likelihood == "bernoulli":
            # Interpolation can overshoot [0, 1] by a rounding error, which the loss refuses.
            pixelwise = F.binary_cross_entropy(rendered.clamp(0, 1), images, reduction="none")
        else:
            pixelwise = (images - rendered).square()
        terms = {
            "deformable_pca": pixelwise.flatten(1).sum(1).mean(),
            "orthogonality": self._orthogonality(),
        }
        if self.settings.blur:
            smooth = self._smooth(images - rendered)
            terms["deformable_pca_smoothed"] = smooth.square().flatten(1).sum(1).mean()
        return terms

    def _smooth(self, difference: Tensor) -> Tensor:
        # Imported here: it takes as long as torch itself.
        from torchvision.transforms.functional import gaussian_blur

        blur = self.settings.blur
        size = 2 * math.ceil(2.5 * blur) + 1
        return gaussian_blur(difference, [size, size], [blur, blur])

    def _orthogonality(self) -> Tensor:
        basis = self.basis.weight
        products = basis.T @ basis
        off_diagonal = products - products.diagonal().diag()
        absolute = self.settings.orthogonality == "absolute"
        penalty = off_diagonal.abs() if absolute else off_diagonal.square()
        return penalty.sum()

    def figures(self, vae: VAE, images: Tensor) -> "dict[str, Figure]":
        """Traversals through the light decoder, of all latents and of its basis, and the basis.

        ``traversals_basis`` moves one content latent at a time, all others at 0;
        ``principal_components`` shows :meth:`components`.
        """
        image, unit = images[len(images) // 2], spread(vae, images)
        largest = self.basis.weight.detach().norm(dim=0).argsort(descending=True)[:10]
        latents = self.content[largest].tolist()
        origin = torch.zeros_like(unit)
        return {
            "traversals_light_decoder": traversal_figure(vae, image, decode=self._shown, unit=unit),
            "traversals_basis": rows_of_latents(self._shown, origin, latents, vae.layout, unit),
            "principal_components": sheet_figure(self.components()),
        }

    def _shown(self, z: Tensor) -> Tensor:
        return self.render(z).clamp(0, 1)

    def components(self) -> Tensor:
        """The basis images by descending norm, each stretched to [0, 1] with 0 at grey,
        ``[K, C, H, W]``."""
        components = self.basis.weight.detach().T
        components = components[components.norm(dim=1).argsort(descending=True)]
        peak = components.abs().amax(1, keepdim=True).clamp_min(1e-12)
        return (0.5 + 0.5 * components / peak).view(-1, *self.input_shape)
