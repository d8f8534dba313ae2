"""Comparing speeds on a machine that does other things too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import torch

MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of a product that is large enough to reach the device's rate."""


@dataclass(frozen=True)
class Contender:
    """Something to be timed.

    Args:
        name: in the results.
        amount: units of work (episodes, images …) in one run.
        run: does them once; may return a float, the seconds that count, if not all of it counts.
    """

    name: str
    amount: float
    run: Callable[[], object]


def rates(
    contenders: Sequence[Contender], repeats: int, *, processor_time: bool = False
) -> dict[str, float]:
    """Median units a second of each, by name.

    They take turns (A B C, A B C, …), after one round that does not count: what slows the machine
    for a while slows all of them, and the ratios hold.

    Args:
        contenders: with names of their own.
        repeats: rounds.
        processor_time: seconds on the processor, which on one thread are those of the clock less
            the time that other processes took.
    """
    clock = process_time if processor_time else perf_counter
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        contender.run()
    for _ in range(repeats):
        for contender in contenders:
            start = clock()
            counted = contender.run()
            elapsed = clock() - start
            taken[contender.name].append(counted if isinstance(counted, float) else elapsed)
    return {c.name: c.amount / median(taken[c.name]) for c in contenders}


def matrix_product(device: str) -> Callable[[], None]:
    """A large float32 product, in full precision: what the device's arithmetic can do."""
    a, b = torch.randn(2, MATRIX[device], MATRIX[device], device=device).unbind()
    out = torch.empty_like(a)

    def run() -> None:
        torch.mm(a, b, out=out)
        synchronise(device)

    return run


def matrix_product_flops(device: str) -> float:
    """Floating-point operations of :func:`matrix_product`."""
    return 2.0 * MATRIX[device] ** 3


def synchronise(device: str) -> None:
    """Wait for what a GPU has been given to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be; numbers to the right, at three digits."""
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        aligned = [cell.strip().rjust(len(cell)) for cell in others]
        print("  ".join([first, *aligned]).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
    return str(value)
