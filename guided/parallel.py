"""Training shared among processes: each has its part of every batch, together they are one.

Inside :func:`sharing`, random numbers are those that one process would draw for the whole batch, of
which each process keeps its own rows; batch norm takes its statistics over all processes. With
gradients averaged, a step is one process's step up to the order of summation.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from guided.errors import InputError


@dataclass(frozen=True)
class Share:
    """Which part of a batch a process has.

    Attributes:
        rank: of the process, 0 … ``world`` - 1.
        world: processes.
        copies: views of each image in a batch; the batch holds one view of all, then the other.
    """

    rank: int
    world: int
    copies: int = 1

    def part(self, n: int) -> slice:
        """This process's rows of n.

        Raises:
            InputError: n is not the same for all processes.
        """
        if n % self.world:
            raise InputError(f"devices: {self.world} cannot share {n} equally")
        size = n // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def rows(self, n: int, device: torch.device) -> Tensor:
        """Where this process's n rows are in the batch of all processes, int64 ``[n]``."""
        size = n // self.copies
        own = torch.arange(size, device=device) + self.rank * size
        views = torch.arange(self.copies, device=device) * size * self.world
        return (views[:, None] + own).flatten()


_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """Inside, batches are this process's part of one; the setting belongs to the calling thread."""
    token = _share.set(share if share.world > 1 else None)
    try:
        yield
    finally:
        _share.reset(token)


def shared() -> Share | None:
    """The setting of :func:`sharing`; None where a process has whole batches."""
    return _share.get()


def standard_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of a batch's shape ``[B, …]``, device and type."""
    share, device, dtype = _share.get(), like.device, like.dtype
    if share is None:
        return torch.randn(like.shape, generator=generator, device=device, dtype=dtype)
    shape = (share.world * like.shape[0], *like.shape[1:])
    whole = torch.randn(shape, generator=generator, device=device, dtype=dtype)
    return whole[share.rows(like.shape[0], device)]


def uniform(k: int, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """k numbers in [0, 1) for each of a batch's n rows, ``[k, n]``."""
    share = _share.get()
    if share is None:
        return torch.rand(k, n, generator=generator, device=device)
    whole = torch.rand(k, share.world * n, generator=generator, device=device)
    return whole[:, share.rows(n, device)]


def gathered(values: Tensor) -> Tensor:
    """The rows of all processes, ``[world * n, …]``; each sends its gradient back."""
    share = _share.get()
    if share is None:
        return values
    rows: Tensor = _Gather.apply(values, share.rank, share.world)
    return rows


def positions(n: int, device: torch.device) -> Tensor:
    """Where a process's n rows are in the whole batch, int64 ``[n]``."""
    share = _share.get()
    return torch.arange(n, device=device) if share is None else share.rows(n, device)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, rank: int, world: int) -> Tensor:
        context.own = slice(rank * len(values), (rank + 1) * len(values))
        parts = [torch.empty_like(values) for _ in range(world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[context.own], None, None


def batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, features: Tensor) -> Tensor:
    """Batch norm in training over the batches of all processes; running statistics included.

    torch's own ``SyncBatchNorm`` refuses CPUs.
    """
    share = _share.get()
    assert share is not None
    spatial = [0, *range(2, features.ndim)]
    shape = [1, -1] + [1] * (features.ndim - 2)
    count = share.world * features.numel() // features.shape[1]
    mean = _summed(features.sum(spatial)) / count
    centred = features - mean.view(shape)
    variance = _summed(centred.square().sum(spatial)) / count
    if norm.track_running_stats:
        _track(norm, mean.detach(), variance.detach() * count / (count - 1))
    scaled = centred * (variance + norm.eps).rsqrt().view(shape)
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


def _summed(values: Tensor) -> Tensor:
    """The sum over all processes, to which each of their losses sends its gradient back."""
    summed: Tensor = _Sum.apply(values)
    return summed


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(context, gradients[0])


@torch.no_grad()
def _track(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    momentum = norm.momentum or 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in one message.

    Which parameters have a gradient must not depend on the process.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    message = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(message)
    message /= dist.get_world_size()
    for gradient, mean in zip(
        gradients, message.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))
