"""Axes of the page's figures: values to places, and ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewshot.study.figures import WIDE


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low, high: values at its ends.
        start, stop: places of its ends.
        log: True if it is logarithmic; ``low`` is then positive.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, one outside at the end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of round values."""
        values = self._powers() if self.log else self._steps()
        return [(self(value), f"{value:g}") for value in values]

    def _steps(self, at_most: int = 6) -> list[float]:
        rough = (self.high - self.low) / at_most
        power = 10 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]

    def _powers(self) -> list[float]:
        low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        values = [f * 10.0**power for power in range(low, high + 1) for f in (1, 2, 5)]
        return [value for value in values if self.low <= value <= self.high]


def scale_of(
    values: Sequence[float], start: float, stop: float, *, log: bool = False, margin: float = 0.04
) -> Scale:
    """An axis that holds all values.

    Args:
        values: at least one, finite.
        start, stop: places of its ends.
        log: make it logarithmic if the values are positive and span a factor of more than
            :data:`.figures.WIDE`.
        margin: share of the span that is added at both ends.
    """
    low, high = min(values), max(values)
    if log and low > 0 and high / low > WIDE:
        ratio = (high / low) ** margin
        return Scale(low / ratio, high * ratio, start, stop, log=True)
    room = margin * (high - low) or max(abs(high), 1.0) / 2
    return Scale(low - room, high + room, start, stop)
