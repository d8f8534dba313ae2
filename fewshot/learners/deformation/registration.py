"""The smooth deformation of one image into another that costs least under a Gaussian prior."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.learners.deformation.alignment import blurred
from fewshot.learners.deformation.distortion import Explanation, image_features
from guided.affine import warp
from guided.free_form import CONTROLS, places, shifts, weights

SCALES = ((1.5, 5), (0.0, 6))
"""Standard deviation in pixels of a blur, and the steps taken under it, from coarse to fine."""

PAIR_BYTES = {"cpu": 2**21, "cuda": 2**27}
"""Bytes of the features of the pairs that are registered at a time."""

RIDGE = 1e-6
"""Share of the mean variance that is added to each: a prior may allow no movement at all."""


@dataclass(frozen=True)
class Registration:
    """Moving images deformed into fixed ones, all pairs of E groups.

    Attributes:
        coefficients: of the deformations (:mod:`guided.free_form`), ``[E, f, m, 32]``.
        residual: squared difference that is left, summed over features and averaged over pixels,
            ``[E, f, m]``.
        effort: cᵀ Σ⁻¹ c / 32, about 1 for a deformation c drawn from the prior, ``[E, f, m]``.
        spread: covariance of a fixed image's deformations in Laplace's approximation, with 16
            nats for each ``stiffness`` of residual, ``[E, f, 32, 32]``.
        stiffness: cost of an effort of 1.
    """

    coefficients: Tensor
    residual: Tensor
    effort: Tensor
    spread: Tensor
    stiffness: float

    @property
    def cost(self) -> Tensor:
        """``residual + stiffness · effort``, which was minimised, ``[E, f, m]``."""
        return self.residual + self.stiffness * self.effort


def register(
    fixed: Tensor, moving: Tensor, covariance: Tensor, *, stiffness: float, gradients: float
) -> Registration:
    """Deform every moving image into every fixed one of its group.

    Minimises, over the deformation c of the moving image s into the fixed one q,

        Σ_features (q - s ∘ T(c))², averaged over pixels, + stiffness · cᵀ Σ⁻¹ c / 32

    by Gauss-Newton steps with the derivatives of the fixed image in the place of those of the
    deformed one (they agree where the images do), so that one matrix serves all pairs of a fixed
    image; first between blurred images. The best of what was met is kept, no deformation included.

    Args:
        fixed: images ``[E, f, C, H, W]``.
        moving: images ``[E, m, C, H, W]``.
        covariance: Σ of the prior, ``[32, 32]``.
        stiffness: cost of a deformation of the prior's size, > 0.
        gradients: factor of the derivatives among the features; see
            :func:`~fewshot.learners.deformation.distortion.image_features`.
    """
    n_groups, n_fixed = fixed.shape[:2]
    k = len(covariance)
    level = covariance.diagonal().mean().clamp(min=1e-12)
    ridge = RIDGE * level * torch.eye(k, device=covariance.device)
    precision = torch.linalg.inv((covariance + ridge).double()).float().to(fixed.device)
    prior = precision * stiffness / k
    levels = []
    for sigma, steps in SCALES:
        theirs, ours = (_features(x, sigma, gradients) for x in (moving, fixed))
        levels.append((theirs, ours, steps))
    size = levels[0][0].shape[2:].numel() * 4 * moving.shape[1]
    step = max(1, PAIR_BYTES[fixed.device.type] // size)  # fixed images at a time
    groups = max(1, step // n_fixed)
    coefficients = fixed.new_empty(n_groups, n_fixed, moving.shape[1], k)
    residual = fixed.new_empty(n_groups, n_fixed, moving.shape[1])
    spread = fixed.new_empty(n_groups, n_fixed, k, k)
    for start in range(0, n_groups, groups):
        some = slice(start, start + groups)
        for first in range(0, n_fixed, step):
            part = slice(first, first + step)
            here = [(theirs[some], ours[some, part], steps) for theirs, ours, steps in levels]
            found = _registered(here, prior)
            for into, value in zip((coefficients, residual, spread), found, strict=True):
                into[some, part] = value
    effort = torch.einsum("efmk,kl,efml->efm", coefficients, precision, coefficients) / k
    return Registration(coefficients, residual, effort, spread * stiffness / k, stiffness)


def explained(fixed: Tensor, moving: Tensor, found: Registration) -> Explanation:
    """Pairs of images, each registered alone, as explanations; displacements are no whole pixels.

    Args:
        fixed: images ``[B, C, H, W]``.
        moving: images ``[B, C, H, W]``.
        found: with E = B, f = m = 1.
    """
    height, width = fixed.shape[2:]
    moved = shifts(found.coefficients[:, 0, 0], height, width)
    identity = torch.eye(2, 3, device=fixed.device).unsqueeze(0)
    deformed = warp(moving, identity, moved)
    displacement = moved.flip(3) * moved.new_tensor([height, width]) / 2
    cost = found.cost[:, 0, 0, None, None].expand(-1, height, width)
    return Explanation(displacement, deformed, fixed - deformed, cost)


def _features(images: Tensor, sigma: float, gradients: float) -> Tensor:
    flat = image_features(blurred(images.flatten(0, 1), sigma), gradients)
    return flat.unflatten(0, images.shape[:2])


def _registered(
    levels: Sequence[tuple[Tensor, Tensor, int]], prior: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients, residuals and the inverse of the last matrix, of a part of the pairs.

    Inside, the dimensions are groups, moving images, features, fixed images and pixels.
    """
    moving, fixed, _ = levels[-1]
    height, width = fixed.shape[3:]
    at = places(height, width).to(fixed)
    grid = weights(at).flatten(0, 1)  # [H W, 16]
    best = current = fixed.new_zeros(len(fixed), moving.shape[1], fixed.shape[1], len(prior))
    least = residual = _mean_square(_difference(_apart(fixed), moving, best, at, grid))
    inverse = prior
    for level, (theirs, ours, steps) in enumerate(levels):
        across, down = (_apart(slope) for slope in _slopes(ours))
        inverse = torch.linalg.inv(_curvature(across, down, grid) + prior)
        finest, ours = level == len(levels) - 1, _apart(ours)
        for number in range(steps + finest):
            difference = _difference(ours, theirs, current, at, grid)
            if finest:
                left = _mean_square(difference)
                cost = left + ((current @ prior) * current).sum(3)
                better = cost < least
                least = torch.where(better, cost, least)
                residual = torch.where(better, left, residual)
                best = torch.where(better[..., None], current, best)
            if number < steps:
                force = [(slope * difference).sum(2) @ grid for slope in (across, down)]
                step = torch.cat(force, 3) / len(grid) - current @ prior
                current = current + torch.einsum("emfk,efkl->emfl", step, inverse)
    return best.transpose(1, 2), residual.transpose(1, 2), inverse


def _apart(images: Tensor) -> Tensor:
    """``[E, f, F, H, W]`` as ``[E, 1, F, f, H W]``."""
    return images.flatten(3).transpose(1, 2).unsqueeze(1).contiguous()


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().sum((2, 4)) / difference.shape[4]


def _difference(
    fixed: Tensor, moving: Tensor, coefficients: Tensor, at: Tensor, grid: Tensor
) -> Tensor:
    """Fixed less deformed features, ``[E, m, F, f, H W]``."""
    control = coefficients.unflatten(3, (2, -1))
    to = (control @ grid.T).transpose(3, 4) + at.flatten(0, 1)  # [E, m, f, H W, 2]
    # Of one moving image all deformations below each other: it need not be copied.
    deformed = F.grid_sample(moving.flatten(0, 1), to.flatten(0, 1), align_corners=False)
    return fixed - deformed.unflatten(0, moving.shape[:2])


def _slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of images ``[E, f, F, H, W]`` along x and y, in half image widths."""
    height, width = images.shape[3:]
    padded = F.pad(images.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * width / 4
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * height / 4
    return across.view(images.shape), down.view(images.shape)


def _curvature(across: Tensor, down: Tensor, grid: Tensor) -> Tensor:
    """Mean over pixels of the products of derivatives by coefficients, ``[E, f, 32, 32]``."""
    pairs = (grid[:, :, None] * grid[:, None]).flatten(1)  # [H W, 256]
    xx, xy, yy = (
        ((one * other).sum(2)[:, 0] @ pairs / len(grid)).unflatten(2, (CONTROLS**2,) * 2)
        for one, other in ((across, across), (across, down), (down, down))
    )
    return torch.cat([torch.cat([xx, xy], 3), torch.cat([xy, yy], 3)], 2)
