"""Unsupervised guidance: some latents deform, the others paint (deformable PCA)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.errors import InputError
from guided.guidance.base import Guidance, GuidanceContext, GuidanceModule
from guided.vae import Posterior

Deformation = Literal["rotation", "scale", "shear", "translation_x", "translation_y"]


GAINS: dict[str, float] = {
    "rotation": 0.5,
    "scale": 0.2,
    "shear": 0.3,
    "translation_x": 0.15,
    "translation_y": 0.15,
}
"""Where the gains start: what one standard deviation of the latent does."""

INITIAL_LOGVAR = -4.0
INITIAL_NOISE = 0.07  # of the deformation itself: radians, log factor …


@dataclass(frozen=True)
class DeformablePCA(Guidance):
    """A light decoder paints the content latents on a linear basis and deforms the result.

    Source: Guided-VAE (Ding et al., CVPR 2020), §3.1:
    ``L_DPCA = E_q ‖x - τ(z_def) ∘ (z_cont Bᵀ)‖² + Σ_{j≠k} (b_jᵀ b_k)²``.

    Each deformation is one latent. ``rotation``: the angle is gain · z. ``scale``: the axes are
    scaled by exp(gain · z), one gain an axis. ``shear``, ``translation_x``, ``translation_y``:
    gain · z, in half image widths. Amounts are those of the map from output to input coordinates:
    a positive scale shrinks what is painted, a positive translation moves it left or up.

    Identity at initialisation: the encoder's means of the deformation latents start at 0, with
    a small variance. Starting with gains of 0 would do that too, but then the light decoder sends
    these latents no gradient, the VAE's own decoder claims them for content first, and what they
    end up with is not the deformation.

    Differs from the paper: the basis has a mean image, as PCA and the authors' code have; the
    deformations compose into one affine map, sampled once; scales are exponentials, so that they
    stay positive. With ``likelihood="bernoulli"`` and ``orthogonality="absolute"`` the terms are
    those of the authors' code (github.com/mlpc-ucsd/Guided-VAE), whose orthogonality term has
    to be weighted by 1 / batch size to match.

    Args:
        deformations: which latents to reserve, in this order.
        likelihood: ``gaussian``: the squared error, as in the paper; ``bernoulli``: a sigmoid on
            the basis and a cross-entropy, as in the authors' code.
        orthogonality: penalise the basis' inner products by their square or absolute value.
        weight: of the light decoder's reconstruction error (0.5 in the authors' code).
        orthogonality_weight: of the orthogonality term.
        exchange: render each view's content under the other view's deformation. With two views
            (``augmentation.views: 2``), content then cannot hold what differs between them.
        blur: standard deviation, in pixels, of a Gaussian that smooths the light decoder's error
            before it is squared once more, for a further term; 0: no such term. Thin strokes that
            do not overlap attract each other only when smoothed, as in image registration.
        blur_weight: of the smoothed error.
        gains: where gains start, by deformation, if not at :data:`GAINS`. A larger one makes the
            light decoder discover a deformation sooner.
    """

    deformations: tuple[Deformation, ...] = ("rotation", "scale")
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    orthogonality: Literal["square", "absolute"] = "square"
    weight: float = 1.0
    orthogonality_weight: float = 1.0
    exchange: bool = False
    blur: float = 0.0
    blur_weight: float = 100.0
    gains: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.deformations:
            raise InputError("DeformablePCA.deformations: at least one is needed")
        for asked in self.deformations:
            if self.deformations.count(asked) > 1:
                raise InputError(f"DeformablePCA.deformations: {asked!r} is asked for twice")
        if self.blur < 0:
            raise InputError(f"DeformablePCA.blur: expected at least 0, got {self.blur}")
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
        self.latent_of = {name: context.latents.share(name)[0] for name in deformations}
        content = sorted(set(range(context.latent_dim)) - set(self.latent_of.values()))
        if not content:
            raise InputError("DeformablePCA: no latent is left for the content")
        self.register_buffer("content", torch.tensor(content), persistent=False)
        channels, height, width = context.input_shape
        self.basis = nn.Linear(len(content), channels * height * width)
        start = {**GAINS, **(settings.gains or {})}
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
        """Small, and smaller under a large gain, which would amplify the posterior's noise."""
        gain = float(self.gains[name].detach().abs().max())
        return min(INITIAL_LOGVAR, 2 * math.log(INITIAL_NOISE / max(gain, INITIAL_NOISE)))

    def affine(self, z: Tensor) -> Tensor:
        """The map from output to input coordinates that z's deformation latents ask for.

        Args:
            z: ``[B, latent_dim]``.

        Returns:
            ``[B, 2, 3]``, for ``torch.nn.functional.affine_grid``.
        """

        def amount(name: str) -> Tensor:
            if name not in self.latent_of:
                return z.new_zeros(len(z), 1)
            return z[:, self.latent_of[name], None] * self.gains[name]

        angle = amount("rotation").squeeze(1)
        scale = amount("scale").exp()
        shear = amount("shear").squeeze(1)
        cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), 0 * angle
        rotate = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
        slant = torch.stack([one, shear, zero, one], 1).view(-1, 2, 2)
        linear = rotate @ slant * scale.expand(-1, 2).unsqueeze(1)
        shift = torch.stack([amount("translation_x"), amount("translation_y")], 1)
        return torch.cat([linear, shift], 2)

    def canvas(self, z: Tensor) -> Tensor:
        """The content before it is deformed, ``[B, C, H, W]``."""
        flat = self.basis(z.index_select(1, self.content))
        canvas: Tensor = flat.view(-1, *self.input_shape)
        return canvas.sigmoid() if self.settings.likelihood == "bernoulli" else canvas

    def render(self, z: Tensor, content: Tensor | None = None) -> Tensor:
        """The light decoder: τ(z_def) ∘ (z_cont Bᵀ), ``[B, C, H, W]``; outside is 0.

        Args:
            z: ``[B, latent_dim]``, whose deformation latents are read.
            content: whose content latents are read, if not ``z``'s own.
        """
        canvas = self.canvas(z if content is None else content)
        grid = F.affine_grid(self.affine(z), list(canvas.shape), align_corners=False)
        return F.grid_sample(canvas, grid, align_corners=False)

    def losses(
        self, images: Tensor, posterior: Posterior, z: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
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
        # Here, for its import takes as long as torch's own.
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

    def pictures(self) -> dict[str, Tensor]:
        """The principal components, by descending norm, each stretched to [0, 1], 0 at grey."""
        components = self.basis.weight.detach().T
        order = components.norm(dim=1).argsort(descending=True)
        components = components[order]
        peak = components.abs().amax(1, keepdim=True).clamp_min(1e-12)
        return {"principal_components": (0.5 + 0.5 * components / peak).view(-1, *self.input_shape)}
