"""Adaptation of a network to each of E episodes by gradient steps: three engines, one result.

``looped`` takes one episode after the other, as many at a time as there are threads.
``vectorised`` is one ``torch.func`` program, vmapped over the episodes: fast on a GPU, slow on a
CPU, because weights that differ by episode make grouped convolutions. ``learn2learn`` is
``looped`` by learn2learn's clones.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.learners.base import BatchNormPolicy
from guided.backbones.batch_norm import group_statistics
from guided.errors import importing

Engine = Literal["looped", "vectorised", "learn2learn"]


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
        engine: what takes them.
    """

    rates: Mapping[str, Tensor | float]
    steps: int
    first_order: bool
    batch_norm: BatchNormPolicy
    engine: Engine = "looped"

    def step_statistics(self) -> AbstractContextManager[None]:
        """Context in which batch norm normalises a batch by its own statistics, unless frozen."""
        if self.batch_norm == "frozen":
            return nullcontext()
        return group_statistics(1, fused=self._fused)

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
        with group_statistics(1, len(support), fused=self._fused):
            return call(torch.cat([support, query]))[len(support) :]

    @property
    def _fused(self) -> bool:
        """True if batch norm may use torch's fused kernel, which is wrong under vmap."""
        return self.engine != "vectorised"


class Adapted:
    """A network at weights of its own, ``[B, …]`` to logits ``[B, n_way]``.

    Args:
        network: it stays as it is, but no other thread may use it during a call.
        names: the parameters that move.

    Attributes:
        weights: the values of these parameters by name.
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        self.network = network
        parameters: dict[str, Tensor] = dict(network.named_parameters())
        # Views, so that the gradients of an episode are added up before those of the next.
        self.weights = {name: parameters[name].view_as(parameters[name]) for name in names}
        name_of = {parameters[name]: name for name in self.weights}
        self._places = {
            f"{path}.{leaf}" if path else leaf: name_of[parameter]
            for path, module in network.named_modules()
            for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if parameter in name_of
        }

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.at(self.weights, inputs)

    def at(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Logits at other weights."""
        # A parameter may be in several modules. To look for them in each call, as torch would,
        # takes as long as a small layer; and a module of two names would keep these weights.
        tensors = {place: weights[name] for place, name in self._places.items()}
        logits: Tensor = torch.func.functional_call(
            self.network, tensors, (inputs,), tie_weights=False
        )
        return logits

    def move(self, updates: Mapping[str, Tensor]) -> None:
        """Add to the weights, differentiably."""
        self.weights = {name: weight + updates[name] for name, weight in self.weights.items()}

    def detach(self) -> None:
        """Make the weights leaves of a new graph."""
        self.weights = {n: w.detach().requires_grad_() for n, w in self.weights.items()}


class Clone:
    """The same by learn2learn, which clones the modules and all parameters of a network.

    Source: Arnold et al. (2020), arXiv:2008.12284.
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        from learn2learn.utils import clone_module

        self.network: nn.Module = clone_module(network)
        self._read(names)

    def __call__(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits

    def move(self, updates: Mapping[str, Tensor]) -> None:
        from learn2learn.utils import update_module

        for name, weight in self.weights.items():
            weight.update = updates[name]  # type: ignore[attr-defined]
        update_module(self.network)
        self._read(self.weights)

    def detach(self) -> None:
        from learn2learn.utils import detach_module

        detach_module(self.network, keep_requires_grad=True)

    def _read(self, names: Iterable[str]) -> None:
        parameters: dict[str, Tensor] = dict(self.network.named_parameters())
        self.weights = {name: parameters[name] for name in names}


def require_learn2learn(asker: str) -> None:
    """Raise InputError, which names the asker, unless learn2learn is installed."""
    with importing("learn2learn", asker):
        import learn2learn.utils  # noqa: F401


def adapt(network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor) -> Adapted | Clone:
    """A network after the inner loop of one episode, differentiable in its parameters.

    Args:
        network: images or embeddings ``[B, …]`` to logits ``[B, n_way]``.
        loop: the inner loop.
        support: ``[n, …]``.
        labels: positions of the support's classes, int64 ``[n]``.
    """
    backpropagates = torch.is_grad_enabled()
    by_learn2learn = loop.engine == "learn2learn"
    with torch.enable_grad():
        adapted = (Clone if by_learn2learn else Adapted)(network, loop.rates)
        if not backpropagates:
            adapted.detach()
        for _ in range(loop.steps):
            with loop.step_statistics():
                loss = F.cross_entropy(adapted(support), labels)
            gradients = torch.autograd.grad(
                loss,
                [*adapted.weights.values()],
                create_graph=backpropagates and not loop.first_order,
            )
            rates = zip(loop.rates.items(), gradients, strict=True)
            adapted.move({name: -rate * gradient for (name, rate), gradient in rates})
            if not backpropagates:
                adapted.detach()
    return adapted


def episode_logits(
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
    return loop.query_logits(adapt(network, loop, support, labels), support, query)


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

    def episode(support: Tensor, query: Tensor) -> Tensor:
        return loop.query_logits(_adapt(network, loop, support, labels), support, query)

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

    def episode(images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        adapted = _adapt(network, loop, images, labels)
        with loop.step_statistics():
            return adapted.weights, F.cross_entropy(adapted(images), labels)

    weights, losses = torch.func.vmap(episode)(images)
    return weights, losses


def _adapt(network: nn.Module, loop: InnerLoop, support: Tensor, labels: Tensor) -> Adapted:
    """As :func:`adapt`, by ``torch.func``, whose gradients may be vmapped."""
    adapted = Adapted(network, loop.rates)

    def support_loss(weights: dict[str, Tensor]) -> Tensor:
        with loop.step_statistics():
            return F.cross_entropy(adapted.at(weights, support), labels)

    for _ in range(loop.steps):
        gradients = torch.func.grad(support_loss)(adapted.weights)
        if loop.first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        adapted.move({name: -rate * gradients[name] for name, rate in loop.rates.items()})
    return adapted
