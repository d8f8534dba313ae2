"""Adaptation of a network to each of E episodes by gradient steps: two engines, one result.

``learn2learn`` makes a differentiable clone for each episode, and works on as many episodes at a
time as there are threads. ``vectorised`` is one ``torch.func`` program, vmapped over the episodes:
fast on a GPU, slow on a CPU, because weights that differ by episode make grouped convolutions.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.learners.base import BatchNormPolicy
from guided.backbones.batch_norm import group_statistics

Engine = Literal["auto", "learn2learn", "vectorised"]

T = TypeVar("T")


@dataclass(frozen=True)
class InnerLoop:
    """The gradient steps inside an episode.

    Attributes:
        rates: learning rate by name of the parameter, a number or a tensor of the parameter's
            shape. Only the parameters named here are adapted.
        steps: gradient steps, each on the whole support.
        first_order: treat the gradients of the steps as constants.
        batch_norm: policy for the queries; the steps use statistics of the support, unless it is
            ``frozen``.
        fused: let batch norm use torch's fused kernel, which is wrong under vmap.
    """

    rates: Mapping[str, Tensor | float]
    steps: int
    first_order: bool
    batch_norm: BatchNormPolicy
    fused: bool = True

    def step_statistics(self) -> AbstractContextManager[None]:
        """Context in which batch norm normalises a batch by its own statistics, unless frozen."""
        if self.batch_norm == "frozen":
            return nullcontext()
        return group_statistics(1, fused=self.fused)

    def query_logits(
        self, call: Callable[[Tensor], Tensor], support: Tensor, query: Tensor
    ) -> Tensor:
        """Logits ``[q, n_way]`` of the queries by an adapted network.

        Args:
            call: the network, ``[B, …]`` to ``[B, n_way]``.
            support: ``[n, …]``, for the statistics of batch norm.
            query: ``[q, …]``.
        """
        if self.batch_norm != "support":
            with self.step_statistics():
                return call(query)
        with group_statistics(1, len(support), fused=self.fused):
            return call(torch.cat([support, query]))[len(support) :]


def adapted_clone(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor
) -> nn.Module:
    """A learn2learn clone of the network after the inner loop of one episode.

    Args:
        network: images or embeddings ``[B, …]`` to logits ``[B, n_way]``.
        loop: the inner loop.
        support: ``[n, …]``.
        labels: positions of the support's classes, int64 ``[n]``.
    """
    from learn2learn.utils import clone_module, detach_module, update_module

    backpropagates = torch.is_grad_enabled()
    with torch.enable_grad():
        clone: nn.Module = clone_module(network)
        if not backpropagates:
            detach_module(clone, keep_requires_grad=True)
        for _ in range(loop.steps):
            parameters = dict(clone.named_parameters())
            with loop.step_statistics():
                loss = F.cross_entropy(clone(support), labels)
            gradients = torch.autograd.grad(
                loss,
                [parameters[name] for name in loop.rates],
                create_graph=backpropagates and not loop.first_order,
            )
            for (name, rate), gradient in zip(loop.rates.items(), gradients, strict=True):
                parameters[name].update = -rate * gradient  # type: ignore[attr-defined]
            update_module(clone)
            if not backpropagates:
                detach_module(clone, keep_requires_grad=True)
    return clone


def cloned_logits(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor, query: Tensor
) -> Tensor:
    """Logits ``[q, n_way]`` of the queries of one episode, differentiable in the parameters.

    Args:
        network: images or embeddings ``[B, …]`` to logits ``[B, n_way]``.
        loop: the inner loop.
        support: ``[n, …]``.
        labels: positions of the support's classes, int64 ``[n]``.
        query: ``[q, …]``.
    """
    clone = adapted_clone(network, loop, support, labels)
    return loop.query_logits(clone, support, query)


def vectorised_logits(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor, query: Tensor
) -> Tensor:
    """Logits ``[E, q, n_way]`` of all episodes at once, differentiable in the parameters.

    Args:
        network: images or embeddings ``[B, …]`` to logits ``[B, n_way]``.
        loop: the inner loop.
        support: ``[E, n, …]``.
        labels: int64 ``[n]``, the same for all episodes.
        query: ``[E, q, …]``.
    """
    loop = dataclasses.replace(loop, fused=False)

    def episode(support: Tensor, query: Tensor) -> Tensor:
        weights = _adapted_weights(network, loop, support, labels)
        return loop.query_logits(
            lambda images: torch.func.functional_call(network, weights, (images,)), support, query
        )

    logits: Tensor = torch.func.vmap(episode)(support, query)
    return logits


def vectorised_training(
    network: nn.Module, loop: InnerLoop, images: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Adapted parameters ``[E, …]`` of every episode by name, and the losses ``[E]`` at them.

    Args:
        network: images or embeddings ``[B, …]`` to logits ``[B, n_way]``.
        loop: the inner loop.
        images: ``[E, n, …]``.
        labels: int64 ``[n]``, the same for all episodes.
    """
    loop = dataclasses.replace(loop, fused=False)

    def episode(images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        weights = _adapted_weights(network, loop, images, labels)
        with loop.step_statistics():
            logits = torch.func.functional_call(network, weights, (images,))
        return weights, F.cross_entropy(logits, labels)

    weights, losses = torch.func.vmap(episode)(images)
    return weights, losses


def _adapted_weights(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The adapted parameters of one episode by name, computed by ``torch.func``."""
    parameters = dict(network.named_parameters())

    def support_loss(weights: dict[str, Tensor]) -> Tensor:
        with loop.step_statistics():
            logits = torch.func.functional_call(network, weights, (support,))
        return F.cross_entropy(logits, labels)

    weights: dict[str, Tensor] = {name: parameters[name] for name in loop.rates}
    for _ in range(loop.steps):
        gradients = torch.func.grad(support_loss)(weights)
        if loop.first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        weights = {
            name: weights[name] - rate * gradients[name] for name, rate in loop.rates.items()
        }
    return weights


def over_cores(task: Callable[[int], T], n_tasks: int) -> Iterator[T]:
    """Yield ``task(0), task(1), …`` in this order, computed by as many threads as torch may use.

    The tensors of an episode are too small to be split among threads, so each thread takes whole
    episodes.
    """
    threads = torch.get_num_threads()
    if threads == 1 or n_tasks == 1:
        yield from map(task, range(n_tasks))
        return
    grad_enabled = torch.is_grad_enabled()  # a setting of the thread

    def run(index: int) -> T:
        with torch.set_grad_enabled(grad_enabled):
            return task(index)

    # For the calling thread too, whose idle worker threads would spin on the cores.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, range(n_tasks))
    finally:
        torch.set_num_threads(threads)


def loss_with_gradients(
    task: Callable[[int], Tensor], n_tasks: int, parameters: Sequence[nn.Parameter]
) -> Tensor:
    """The mean loss of the tasks, a scalar that already knows its gradients.

    The graph of a task is freed as soon as its gradients are known, so memory does not grow with
    the number of tasks. Gradients are added in the order of the tasks, so the result does not
    depend on the number of threads.

    Args:
        task: number of a task to its loss, a scalar.
        n_tasks: number of tasks.
        parameters: what to differentiate by.
    """

    def differentiated(index: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = task(index) / n_tasks
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

    total = torch.zeros((), dtype=parameters[0].dtype, device=parameters[0].device)
    sums: list[Tensor | None] = [None] * len(parameters)
    for loss, gradients in over_cores(differentiated, n_tasks):
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
