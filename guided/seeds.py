"""Seeds derived from one root seed and a purpose."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from guided.errors import InputError


def derive_seed(root: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, derived from the root seed.

    Args:
        root: the run's seed, >= 0.
        purpose: words and numbers such as ``("pretrain", "noise", step)``.

    Returns:
        An integer in [0, 2**63), independent for different purposes (numpy's ``SeedSequence``).

    Raises:
        InputError: a negative root.
    """
    if root < 0:
        raise InputError(f"seed: expected >= 0, got {root}")
    words = tuple(_word(part) for part in purpose)
    state = np.random.SeedSequence(root, spawn_key=words).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _word(part: str | int) -> int:
    if isinstance(part, int):
        return part
    return int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")


def generator(
    root: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh ``torch.Generator`` on ``device``, seeded by :func:`derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(root, *purpose))


@contextmanager
def seeded_initialisation(root: int, *purpose: str | int) -> Iterator[None]:
    """Context in which torch modules are initialised by a seed; the global state is restored.

    The layers of torch draw their initial weights from the global generator of the CPU; it is
    seeded inside this block and restored after it.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed every GPU, whose state is not restored here.
        torch.default_generator.manual_seed(derive_seed(root, *purpose))
        yield
