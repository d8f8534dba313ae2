"""Adapting a network to each of E episodes by gradient steps: two engines, one result.

``learn2learn``: a differentiable clone for each episode, one after the other, several at a time on
the CPU's cores. ``vectorised``: one ``torch.func`` program, vmapped over the episodes, which keeps
a GPU busy and a CPU waiting (each episode's weights turn convolutions into grouped ones).
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
    """What happens inside an episode.

    Attributes:
        rates: parameter -> its learning rate, a number or a tensor of the parameter's shape. The
            parameters named here are adapted, no others.
        steps: gradient steps on all of the support.
        first_order: treat the steps' gradients as constants.
        batch_norm: whose statistics; in a step always the support's, unless ``frozen``.
        fused: whether batch norm may use torch's own kernel, which vmap gets wrong.
    """

    rates: Mapping[str, Tensor | float]
    steps: int
    first_order: bool
    batch_norm: BatchNormPolicy
    fused: bool = True

    def step_statistics(self) -> AbstractContextManager[None]:
        """Batch norm's, for a pass of the support or of transductive queries."""
        if self.batch_norm == "frozen":
            return nullcontext()
        return group_statistics(1, fused=self.fused)

    def query_logits(
        self, call: Callable[[Tensor], Tensor], support: Tensor, query: Tensor
    ) -> Tensor:
        """Logits of the queries by an adapted network, ``[q, n_way]``."""
        if self.batch_norm != "support":
            with self.step_statistics():
                return call(query)
        with group_statistics(1, len(support), fused=self.fused):
            return call(torch.cat([support, query]))[len(support) :]


def adapted_clone(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor
) -> nn.Module:
    """A learn2learn clone after the inner loop of one episode.

    Args:
        network: images (or embeddings) to logits.
        loop: the steps.
        support: ``[n, …]``.
        labels: int64 ``[n]``.
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
    """Logits of one episode's queries, ``[q, n_way]``; differentiable in the network's parameters.

    Args:
        network: images (or embeddings) to logits.
        loop: the steps.
        support: ``[n, …]``.
        labels: int64 ``[n]``.
        query: ``[q, …]``.
    """
    clone = adapted_clone(network, loop, support, labels)
    return loop.query_logits(clone, support, query)


def vectorised_logits(
    network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor, query: Tensor
) -> Tensor:
    """Logits of all episodes' queries at once, ``[E, q, n_way]``; differentiable.

    Args:
        network: images (or embeddings) to logits.
        loop: the steps.
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
    """What all episodes' inner loops end with: adapted parameters ``[E, …]``, losses ``[E]``.

    Args:
        network: images (or embeddings) to logits.
        loop: the steps.
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
    """One episode's adapted parameters, in ``torch.func``'s terms."""
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
    """``task(0), task(1), …`` in this order, computed by as many threads as torch may use.

    An episode's tensors are too small to be shared out among threads; whole episodes are not.
    """
    threads = torch.get_num_threads()
    if threads == 1 or n_tasks == 1:
        yield from map(task, range(n_tasks))
        return
    grad_enabled = torch.is_grad_enabled()  # which belongs to the thread

    def run(index: int) -> T:
        with torch.set_grad_enabled(grad_enabled):
            return task(index)

    # The calling thread too: a team of its own would wait for work by spinning on a core.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, range(n_tasks))
    finally:
        torch.set_num_threads(threads)


def loss_with_gradients(
    task: Callable[[int], Tensor], n_tasks: int, parameters: Sequence[nn.Parameter]
) -> Tensor:
    """The mean of the tasks' losses, whose gradient is computed already.

    Each task's graph is freed as soon as its gradient is known: memory does not grow with the
    number of tasks, and tasks need no common graph to run on several cores. Gradients are added in
    the order of the tasks, so that the result does not depend on the number of threads.
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
    """A value whose gradients in some parameters are given."""

    @staticmethod
    def forward(ctx, value, gradients, *parameters):  # type: ignore[no-untyped-def]
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx, outer):  # type: ignore[no-untyped-def]
        return None, None, *(None if g is None else outer * g for g in ctx.gradients)
