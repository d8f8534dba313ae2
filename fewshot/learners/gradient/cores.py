"""Episodes shared among the cores of a CPU, one on each, and the gradients of their mean loss."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")

Task = Callable[[nn.Module, int], T]
"""Computes something for an episode, given a network and the episode's number."""


def over_cores(task: Task[T], network: nn.Module, n_tasks: int) -> Iterator[T]:
    """Yield ``task(network, 0), task(network, 1), …``, by as many threads as torch may use.

    The tensors of an episode are too small to be split among threads, so each thread takes whole
    episodes. It has its own copy of the network's modules, with the same parameters and buffers,
    because a functional call puts other tensors into the modules while it lasts.
    """
    threads = torch.get_num_threads()
    if threads == 1 or n_tasks == 1:
        yield from (task(network, index) for index in range(n_tasks))
        return
    # Settings of the thread.
    grad_enabled = torch.is_grad_enabled()
    kind = next(network.parameters()).device.type
    cast = partial(
        torch.autocast,
        kind,
        torch.get_autocast_dtype(kind),
        enabled=torch.is_autocast_enabled(kind),
    )
    own = threading.local()

    def start() -> None:
        torch.set_num_threads(1)
        tensors = (*network.parameters(), *network.buffers())
        own.network = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})

    def run(index: int) -> T:
        with torch.set_grad_enabled(grad_enabled), cast():
            return task(own.network, index)

    # For the calling thread too, whose idle worker threads would spin on the cores.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=start) as pool:
            yield from pool.map(run, range(n_tasks))
    finally:
        torch.set_num_threads(threads)


def loss_with_gradients(
    task: Task[Tensor], network: nn.Module, n_tasks: int, parameters: Sequence[nn.Parameter]
) -> Tensor:
    """The mean loss of the tasks, a scalar that already knows its gradients.

    The graph of a task is freed as soon as its gradients are known, so memory does not grow with
    the number of tasks. Gradients are added in the order of the tasks, so the result does not
    depend on the number of threads.

    Args:
        task: a network and the number of a task to its loss, a scalar.
        network: as for :func:`over_cores`.
        n_tasks: number of tasks.
        parameters: what to differentiate by.
    """

    def differentiated(own: nn.Module, index: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = task(own, index) / n_tasks
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

    total = torch.zeros((), dtype=parameters[0].dtype, device=parameters[0].device)
    sums: list[Tensor | None] = [None] * len(parameters)
    for loss, gradients in over_cores(differentiated, network, n_tasks):
        total += loss
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                before = sums[i]
                sums[i] = gradient if before is None else before.add_(gradient)
    result: Tensor = WithGradients.apply(total, sums, *parameters)
    return result


class WithGradients(torch.autograd.Function):
    """A value with given gradients in some parameters."""

    @staticmethod
    def forward(ctx, value, gradients, *parameters):  # type: ignore[no-untyped-def]
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        return None, None, *(None if g is None else outer * g for g in ctx.gradients)
