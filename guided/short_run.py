"""Short-run inference: latents from a few Langevin steps through the decoder, without an encoder.

Sources: Nijkamp et al. (ECCV 2020), arXiv:1912.01909; Pang et al. (EACL 2021), arXiv:2106.02513.
The decoder must treat each image on its own: batch norm, if any, in evaluation mode.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from guided.decoder import Decoder
from guided.errors import InputError
from guided.ranges import Checked, Count, Positive


@dataclass(frozen=True)
class Langevin(Checked):
    """Steps of a chain towards the posterior p(z|x) of a decoder.

    With U(z) = -log p(x, z), a step is

        z_{k+1} = z_k - ½ s_k² ∇U(z_k) + T s_k ε_k,  ε_k ~ N(0, I).

    Without noise (T = 0) it descends U. T = 1 is Langevin's dynamics, whose stationary law is not
    quite the posterior: where U has curvature p, its variance is 1 / (p (1 - ¼ s² p)) in place of
    1 / p. A smaller T multiplies that variance by T²: the authors' 0.2 leaves 4 % of it, a descent
    with little noise. A chain is stable, and without noise U never rises, while ½ s² p <= 2, so s
    must stay below 2 / √p for the largest curvature p (:func:`largest_curvature`).

    Args:
        steps: K, >= 1.
        step_size: s, > 0; or a list, s_0, s_1 …, whose last one serves all steps that follow.
        clip: largest norm of ∇U of an image, > 0; longer gradients are shortened. None: as it is.

    Raises:
        InputError: a number is out of its range.
    """

    steps: Count = 20
    step_size: Positive | list[Positive] = 0.1
    clip: Positive | None = None

    def __post_init__(self) -> None:
        if isinstance(self.step_size, list) and not 1 <= len(self.step_size) <= self.steps:
            raise InputError(
                f"step_size: expected 1 to {self.steps} sizes, one a step, "
                f"got {len(self.step_size)}"
            )

    @cached_property
    def sizes(self) -> list[float]:
        """s_k of every step."""
        given = self.step_size if isinstance(self.step_size, list) else [self.step_size]
        return given + given[-1:] * (self.steps - len(given))

    def noise(
        self, shape: tuple[int, ...], generator: torch.Generator, temperature: float = 1.0
    ) -> Tensor | None:
        """T ε of every step, ``[steps, *shape]``, on the generator's device; None at T = 0.

        Args:
            shape: of the latents.
            generator: draws ε.
            temperature: T.
        """
        if not temperature:
            return None
        drawn = torch.randn(self.steps, *shape, generator=generator, device=generator.device)
        return temperature * drawn


def log_joint(decoder: Decoder, images: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) = log p(x|z) + log N(z; 0, I) in nats, ``[…, B]``.

    Args:
        decoder: network and likelihood.
        images: float in [0, 1], ``[B, C, H, W]``.
        z: latents ``[…, B, d]``: any number of chains an image.
    """
    return _log_normal(z) - _nll(decoder, images, z)


def _nll(decoder: Decoder, images: Tensor, z: Tensor) -> Tensor:
    """-log p(x|z), ``[…, B]``."""
    repeated = images.expand(*z.shape[:-2], *images.shape).flatten(0, -4)
    return decoder.likelihood.nll(decoder.network(z.flatten(0, -2)), repeated).view(z.shape[:-1])


def _log_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I), ``[…]``."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def run_chain(
    decoder: Decoder,
    images: Tensor,
    start: Tensor,
    steps: Langevin,
    noise: Tensor | None = None,
    *,
    differentiable: bool = False,
) -> Tensor:
    """The last state z_K of a chain for each image, ``[…, B, d]``.

    Gradients are computed also where the caller has turned them off; the result is detached.

    Args:
        decoder: network and likelihood.
        images: float in [0, 1], ``[B, C, H, W]``.
        start: z_0, ``[…, B, d]``.
        steps: settings.
        noise: T ε of :meth:`Langevin.noise`, ``[K, …, B, d]`` or broadcastable to it, such as
            ``[K, …, 1, d]``, the same for all images; None: a descent of U.
        differentiable: keep the graph from ``start`` to the result.
    """
    z = start
    # Single precision also inside autocast: rounding would drown small steps.
    with torch.enable_grad(), torch.autocast(start.device.type, enabled=False):
        for k, size in enumerate(steps.sizes):
            if not differentiable:
                z = z.detach().requires_grad_()
            value = log_joint(decoder, images, z).sum()
            (ascent,) = torch.autograd.grad(value, z, create_graph=differentiable)
            z = z + 0.5 * size**2 * _clipped(ascent, steps.clip)
            if noise is not None:
                z = z + size * noise[k]
    return z if differentiable else z.detach()


def _clipped(gradient: Tensor, largest: float | None) -> Tensor:
    if largest is None:
        return gradient
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return gradient * (largest / norm.clamp_min(largest))


@dataclass(frozen=True)
class ChainDensity:
    """The last state of chains that started from the prior, and log densities there, in nats.

    Attributes:
        z: z_K, ``[…, B, d]``.
        log_q: of z_K under the chain's law with its noises held fixed, ``[…, B]``.
        log_prior: of z_K under N(0, I), ``[…, B]``.
        nll: -log p(x|z_K), ``[…, B]``.
    """

    z: Tensor
    log_q: Tensor
    log_prior: Tensor
    nll: Tensor

    @property
    def kl(self) -> Tensor:
        """log q(z_K) - log p(z_K), ``[…, B]``; its mean is the divergence from the prior."""
        return self.log_q - self.log_prior

    @property
    def bound(self) -> Tensor:
        """KL + reconstruction, ``[…, B]``; its mean is never below -log p(x)."""
        return self.kl + self.nll


def chain_density(
    decoder: Decoder, images: Tensor, start: Tensor, steps: Langevin, noise: Tensor | None = None
) -> ChainDensity:
    """The law of a short chain as a reparameterised posterior.

    Source: Nijkamp et al. (2020), arXiv:1912.01909: with the noises ε held fixed, z_K is a function
    of z_0, so

        log q(z_K) = log N(z_0; 0, I) - log |det ∂z_K / ∂z_0|.

    This holds while that function is one-to-one, which step sizes with ½ s² p < 1 ensure
    (see :class:`Langevin`). The bound holds for each ε, so for their mean too.

    Differs from the authors' code: state and Jacobian come from the same draw of the noises. It
    costs d backward passes through all steps.

    Args:
        decoder: network and likelihood.
        images: float in [0, 1], ``[B, C, H, W]``.
        start: z_0, draws from N(0, I), ``[…, B, d]``.
        steps: settings.
        noise: as for :func:`run_chain`.
    """
    start = start.detach().requires_grad_()
    with torch.enable_grad():
        z = run_chain(decoder, images, start, steps, noise, differentiable=True)
        # An image's state depends on its own start alone, so rows of all Jacobians come at once.
        rows = [
            torch.autograd.grad(z[..., i].sum(), start, retain_graph=True)[0]
            for i in range(z.shape[-1])
        ]
    with torch.no_grad():
        stretch = torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet
        log_q = _log_normal(start) - stretch
        return ChainDensity(z.detach(), log_q, _log_normal(z), _nll(decoder, images, z))


def largest_curvature(
    decoder: Decoder, images: Tensor, z: Tensor, iterations: int = 20, seed: int = 0
) -> Tensor:
    """The largest eigenvalue of ∂²U/∂z² in absolute value for each image, by power iteration,
    ``[…, B]``.

    Args:
        decoder: network and likelihood.
        images: float in [0, 1], ``[B, C, H, W]``.
        z: where, ``[…, B, d]``.
        iterations: of the power method, whose result is never above the eigenvalue.
        seed: of the first direction.
    """
    generator = torch.Generator(z.device).manual_seed(seed)
    direction = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    value = direction
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (ascent,) = torch.autograd.grad(log_joint(decoder, images, z).sum(), z, create_graph=True)
        for _ in range(iterations):
            direction = value / torch.linalg.vector_norm(value, dim=-1, keepdim=True)
            (value,) = torch.autograd.grad(ascent, z, -direction, retain_graph=True)
    return torch.linalg.vector_norm(value, dim=-1)
