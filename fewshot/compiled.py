"""``torch.compile`` in meta-training.

Only training steps are compiled: each other batch size, as in validation, would be compiled anew.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from guided.errors import InputError


def compile_networks(*networks: nn.Module) -> None:
    """Compile networks in place; weights and state dicts stay the same, copies are not compiled."""
    for network in networks:
        network.compile()


@contextmanager
def as_written() -> Iterator[None]:
    """Context in which compiled networks run uncompiled."""
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def translating() -> Iterator[None]:
    """Context that turns a failure of the compiler into one line.

    Raises:
        InputError: compilation failed, most often for want of a C++ compiler.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        missing = "" if shutil.which("c++") else "no C++ compiler (c++) is installed: "
        reason = " ".join(str(error).split())
        raise InputError(f"compile: {missing}torch.compile failed: {reason[:200]}") from error
