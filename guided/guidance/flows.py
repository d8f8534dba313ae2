"""Normalising flows along a known graph of causes."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import torch
from torch import Tensor, nn

from guided.errors import InputError

Bounds = Literal["symmetric", "positive"]


class CausalFlow(nn.Module):
    """An affine flow in which each variable depends on its own noise and on its causes.

    Source: Komanduri et al. (2023), ICM-VAE, arXiv:2306.01213: z_i = exp(s_i(z_pa)) ⊙ ε_i +
    t_i(z_pa), where z_pa are the causes of variable i. The log-determinant of ∂z/∂ε is the sum of
    all s. A variable without causes has a constant scale and shift.

    Differs from the paper's code: each variable has a network of its own; there, variables of the
    same causes have the same scale and shift. With ``bounds="symmetric"`` the flow can contract and
    shift freely: s = 2 tanh(·/2), t any number; ``positive``, as in the code, keeps s and t in
    (0, 1). It starts as the identity within its bounds.

    Args:
        graph: variable -> its direct causes; the variables' latents are in this order.
        width: latents of each variable.
        hidden: width of the two hidden layers of each network.
        bounds: of scales and shifts.

    Raises:
        InputError: a cause is no variable, or variables cause themselves.
    """

    def __init__(
        self,
        graph: Mapping[str, Sequence[str]],
        width: int = 1,
        hidden: int = 32,
        bounds: Bounds = "symmetric",
    ) -> None:
        super().__init__()
        self.order = causal_order(graph)
        self.names, self.width, self.bounds = tuple(graph), width, bounds
        position = {name: k for k, name in enumerate(graph)}
        self.causes = tuple(tuple(position[cause] for cause in graph[name]) for name in graph)
        self.networks = nn.ModuleList(
            _network(len(causes) * width, hidden, 2 * width) for causes in self.causes
        )

    def conditional(self, variable: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift of a variable given its causes, each ``[B, width]``.

        Args:
            variable: its position.
            z: ``[B, variables * width]``, of which only the causes are read.
        """
        causes = z.unflatten(1, (-1, self.width))[:, list(self.causes[variable])]
        scale, shift = self.networks[variable](causes.flatten(1)).chunk(2, 1)
        if self.bounds == "positive":
            return scale.sigmoid(), shift.sigmoid()
        return 2 * (scale / 2).tanh(), shift

    def noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The noises of variables, and the log-determinant of ∂z/∂ε, ``[B]``.

        Args:
            z: ``[B, variables * width]``.
        """
        both = [self.conditional(k, z) for k in range(len(self.names))]
        scale, shift = (torch.cat(parts, 1) for parts in zip(*both, strict=True))
        return (z - shift) * (-scale).exp(), scale.sum(1)

    def forward(self, noise: Tensor) -> Tensor:
        """Variables of noises, both ``[B, variables * width]``: the inverse of :meth:`noise`."""
        return self._completed(noise, noise, set(range(len(self.names))))

    def intervened(self, z: Tensor, variable: str, value: Tensor) -> Tensor:
        """Variables after one of them is set, ``[B, variables * width]``.

        Its effects, and theirs, follow with the noises that they had; all others stay the same.

        Args:
            z: before, ``[B, variables * width]``.
            variable: its name.
            value: ``[B, width]``.
        """
        at = self.names.index(variable)
        changed = torch.cat([z[:, : at * self.width], value, z[:, (at + 1) * self.width :]], 1)
        return self._completed(self.noise(z)[0], changed, self.effects(variable))

    def effects(self, variable: str) -> set[int]:
        """The positions of the variables that a variable causes, directly or not."""
        reached = {self.names.index(variable)}
        for name in self.order:
            at = self.names.index(name)
            if reached & set(self.causes[at]):
                reached.add(at)
        return reached - {self.names.index(variable)}

    def _completed(self, noise: Tensor, z: Tensor, computed: set[int]) -> Tensor:
        """Variables of which some are computed from their noises and causes, in causal order."""
        blocks = list(z.split(self.width, 1))
        for at in (self.names.index(name) for name in self.order):
            if at in computed:
                scale, shift = self.conditional(at, torch.cat(blocks, 1))
                own = noise[:, at * self.width : (at + 1) * self.width]
                blocks[at] = scale.exp() * own + shift
        return torch.cat(blocks, 1)


def causal_order(graph: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The variables of a graph, each after its causes.

    Args:
        graph: variable -> its direct causes.

    Raises:
        InputError: a cause is no variable, or variables cause themselves.
    """
    for name, causes in graph.items():
        for cause in causes:
            if cause not in graph:
                known = ", ".join(graph)
                raise InputError(
                    f"factors.{name}: its cause {cause!r} is not one of the factors {known}"
                )
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InputError(f"factors: expected a graph without circles, got {circle}") from error


def _network(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Causes to raw scales and shifts, all 0 at first."""
    if not inputs:
        return Constant(outputs)
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
    )


class Constant(nn.Module):
    """The same learned numbers for all inputs.

    Args:
        outputs: how many, 0 at first.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, outputs]`` for inputs ``[B, …]``."""
        return self.values.expand(len(inputs), -1)
