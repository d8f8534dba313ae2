"""Running part of a training as it is written, while the rest is compiled."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fewshot.compiled import as_written


def test_as_written_leaves_a_translated_module_alone() -> None:
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        calls.append(1)
        return graph.forward

    layer = torch.nn.Linear(2, 3)
    layer.compile(backend=backend)
    with as_written():
        layer(torch.ones(4, 2))
    assert not calls
    layer(torch.ones(4, 2))
    assert calls
