"""The number format of a training's forward passes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """A context for one forward pass: torch's autocast to bfloat16, or nothing.

    Args:
        precision: ``float32``, or ``bfloat16`` for the operations that torch considers safe in it;
            weights, losses and gradients stay in float32.
        device: of the pass.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
