"""Batch norm whose statistics can come from groups of a batch, such as an episode's images."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class _Groups:
    groups: int
    reference: int | None
    fused: bool


_groups: ContextVar[_Groups | None] = ContextVar("groups", default=None)


@contextmanager
def group_statistics(
    groups: int, reference: int | None = None, *, fused: bool = True
) -> Iterator[None]:
    """Context in which :class:`BatchNorm2d` normalises each group of images by its own statistics.

    Running statistics are neither read nor written. Other threads are not affected.

    Args:
        groups: number of groups of equal size in the batch, one after the other.
        reference: number of images at the start of each group whose mean and variance normalise
            the whole group; ``None``: all of them.
        fused: use torch's own kernel where it applies. Under ``torch.func.vmap`` its second
            derivatives are wrong (torch 2.15), by some percent and without a warning.
    """
    token = _groups.set(_Groups(groups, reference, fused))
    try:
        yield
    finally:
        _groups.reset(token)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm of torch, with the statistics of groups inside :func:`group_statistics`.

    Source: Ioffe & Szegedy (2015), arXiv:1502.03167, algorithm 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        groups = _groups.get()
        return super().forward(input) if groups is None else _normalised(self, input, groups)


class BatchNorm1d(nn.BatchNorm1d):
    """As :class:`BatchNorm2d`, for features ``[B, C]``."""

    def forward(self, input: Tensor) -> Tensor:
        groups = _groups.get()
        return super().forward(input) if groups is None else _normalised(self, input, groups)


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, input: Tensor, chosen: _Groups) -> Tensor:
    if chosen.fused and chosen.groups == 1 and chosen.reference is None:
        return F.batch_norm(input, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    grouped = input.unflatten(0, (chosen.groups, -1))
    spatial = tuple(range(3, grouped.ndim))
    variance, mean = torch.var_mean(
        grouped[:, : chosen.reference], dim=(1, *spatial), correction=0, keepdim=True
    )
    scale = (variance + norm.eps).rsqrt()
    shift = -mean * scale
    if norm.affine:
        weight, bias = (p.view(-1, *(1 for _ in spatial)) for p in (norm.weight, norm.bias))
        scale, shift = scale * weight, shift * weight + bias
    return (grouped * scale + shift).flatten(0, 1)
