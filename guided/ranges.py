"""Ranges of settings: declared in annotations, checked wherever a setting is given."""

import functools
import inspect
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from guided.errors import InputError

SEQUENCES, MAPPINGS, UNIONS = (list, tuple, Sequence), (dict, Mapping), (Union, types.UnionType)
LARGEST = {int: 2**63 - 1, float: sys.float_info.max}
"""Of torch's and numpy's whole numbers, and of finite ones."""


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be; infinite ones and NaN are outside of every range.

    ``drop: Annotated[float, Range(0, below=1)]`` declares it. The configuration reader checks it,
    and every constructor of a :class:`Checked` class.

    Args:
        least: the smallest.
        most: the largest.
        above: what all are above.
        below: what all are below.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if low is not None and high is not None:
            left, right = "[" if self.above is None else "(", "]" if self.below is None else ")"
            return f"in {left}{low}, {high}{right}"
        words = {"at least": self.least, "at most": self.most, ">": self.above, "<": self.below}
        return next((f"{word} {n}" for word, n in words.items() if n is not None), "")

    def refusal(self, value: Any, kind: type = float) -> str | None:
        """``expected …, got …``; None for a number in the range.

        Args:
            value: anything.
            kind: float, or int for whole numbers only.
        """
        number, numbers = ("a whole number", Integral) if kind is int else ("a number", Real)
        if not issubclass(type(value), numbers):
            return f"expected {number}, got {shown(value)}"
        value = int(value) if isinstance(value, Integral) else float(value)
        if not self._holds(value):
            return f"expected {self}, got {shown(value)}"
        if not -LARGEST[kind] <= value <= LARGEST[kind]:
            limit = "below 2^63" if kind is int else "that is finite"
            return f"expected {number} {limit}, got {shown(value)}"
        return None

    def _holds(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
Whole = Annotated[int, Range(0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(above=0, most=1)]


class Checked:
    """Base of classes whose constructors refuse arguments that their annotations do not allow.

    Numbers are checked against their :class:`Range`, choices against their ``Literal``, before
    ``__init__`` runs. Of other types nothing is checked.

    Raises:
        InputError: names class and argument.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the arguments."""
        made: Any = cls
        try:
            given = _signature(made).bind_partial(*args, **kwargs).arguments
        except TypeError:
            return super().__new__(cls)  # __init__ says what is wrong
        kinds = _kinds(made)
        for name, value in {**given, **kwargs}.items():
            check(kinds.get(name), value, f"{cls.__name__}.{name}")
        return super().__new__(cls)


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    """Argument -> annotation, also of those that a constructor hands on to its base class."""
    bases: list[Any] = [base for base in reversed(cls.__mro__) if issubclass(base, Checked)]
    parts = [_signature(base) for base in bases]
    return {
        p.name: p.annotation
        for part in parts
        for p in part.parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


@functools.cache
def _signature(cls: type) -> inspect.Signature:
    try:
        return inspect.signature(cls, eval_str=True)
    except NameError:  # an annotation that exists for type checkers alone
        return inspect.signature(cls)


def check(kind: Any, value: Any, key: str) -> None:
    """Refuse a value that its annotation does not allow.

    Args:
        kind: the annotation.
        value: anything.
        key: what the value is called, for the message.

    Raises:
        InputError: a number is out of its range, or a choice is none of those that there are.
    """
    kind, bounds = without_range(kind)
    origin, inside = get_origin(kind), get_args(kind)
    if kind in (int, float):
        message = bounds.refusal(value, kind)
    elif origin is Literal:
        words = ", ".join(map(str, inside))
        message = None if value in inside else f"expected one of {words}, got {shown(value)}"
    elif origin in SEQUENCES and isinstance(value, str | Real):
        message = f"expected a list, got {shown(value)}"
    else:
        message = None
        if origin in UNIONS:
            check(next((k for k in inside if _fits(k, value)), inside[0]), value, key)
        elif origin in MAPPINGS and isinstance(value, Mapping):
            for name, item in value.items():
                check(inside[1], item, f"{key}.{name}")
        elif origin in SEQUENCES and isinstance(value, Sequence):
            fixed = origin is tuple and inside[-1] is not Ellipsis
            if fixed and len(value) != len(inside):
                message = f"expected {len(inside)} values, got {len(value)}"
            for i, (one, item) in enumerate(
                zip(inside if fixed else repeat(inside[0]), value, strict=False)
            ):
                check(one, item, f"{key}.{i}")
    if message:
        raise InputError(f"{key}: {message}")


def without_range(kind: Any) -> tuple[Any, Range]:
    """A type without its annotations, and the range that they hold."""
    if get_origin(kind) is not Annotated:
        return kind, Range()
    inner, *notes = get_args(kind)
    return inner, next((note for note in notes if isinstance(note, Range)), Range())


def _fits(kind: Any, value: Any) -> bool:
    """True for the alternative of a union that a value is meant as."""
    kind, _ = without_range(kind)
    origin = get_origin(kind)
    if kind in (int, float):
        return isinstance(value, Real)
    if origin is Literal:
        return value in get_args(kind)
    if origin in SEQUENCES:
        return isinstance(value, list | tuple)
    found = origin or kind
    return isinstance(found, type) and isinstance(value, found)


def shown(value: Any) -> str:
    """A value in a message: in one line that is not long."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"one of {value.bit_length():,} bits"
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"
