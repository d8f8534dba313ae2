"""``torch.compile`` as an option of both training loops.

Only training steps run translated: validation has batches of other sizes, each of which would have
to be translated anew.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from guided.errors import InputError


def compile_networks(*networks: nn.Module) -> None:
    """From now on, in place; weights and state dict stay, and copies are not translated."""
    for network in networks:
        network.compile()


@contextmanager
def as_written() -> Iterator[None]:
    """Inside, translated networks run as they are written."""
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def translating() -> Iterator[None]:
    """Around what may translate: a failure to is one line.

    Raises:
        InputError: torch's compiler cannot, most often because there is no C++ compiler.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        missing = "" if shutil.which("c++") else "no C++ compiler (c++) is there: "
        reason = " ".join(str(error).split())
        raise InputError(f"compile: {missing}torch.compile failed: {reason[:200]}") from error
