"""Threads of torch and of BLAS: how many compute is a part of what a result depends on.

A sum that is split among other numbers of threads can differ in its last bits, and a training makes
those count.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

from guided.errors import InputError


@contextmanager
def computing_with(number: int | None = None) -> Iterator[None]:
    """Compute with so many threads: torch, and the BLAS of numpy and scipy.

    Args:
        number: of threads; None: as many as torch takes by itself, ``OMP_NUM_THREADS`` or the
            cores.

    Raises:
        InputError: the number is below 1.
    """
    before = torch.get_num_threads()
    number = before if number is None else number
    if number < 1:
        raise InputError(f"threads: expected at least 1, got {number}")
    torch.set_num_threads(number)
    try:
        # Two of OpenBLAS's in each of two processes wait for each other for most of the time.
        with _blas().limit(limits=number):
            yield
    finally:
        torch.set_num_threads(before)


def in_use(device: str) -> dict[str, Any]:
    """``threads``, for the facts that a result depends on; nothing on a GPU, which has its own."""
    return {"threads": torch.get_num_threads()} if device == "cpu" else {}


@cache
def _blas() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - loads a BLAS of its own, which must be there to be limited

    return ThreadpoolController().select(user_api="blas")
