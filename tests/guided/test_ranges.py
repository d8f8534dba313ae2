import copy
import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from guided import InputError
from guided.ranges import (
    Checked,
    Count,
    NonNegative,
    Positive,
    PositiveShare,
    Range,
    Share,
    Whole,
    check,
)


@pytest.mark.parametrize(
    ("kind", "inside", "outside", "said"),
    [
        (Count, (1, 2**63 - 1, np.int64(3)), (0, -1), "at least 1"),
        (Whole, (0,), (-1,), "at least 0"),
        (Positive, (5e-324, 1, 1.7e308), (0, -0.0, -1, math.nan), "> 0"),
        (NonNegative, (0, -0.0, np.float32(2)), (-5e-324, math.nan), "at least 0"),
        (Share, (0, 1, 0.5), (-0.1, 1.1, math.inf, -math.inf), "in [0, 1]"),
        (PositiveShare, (1, 0.1), (0, 2), "in (0, 1]"),
        (Annotated[float, Range(0, below=1)], (0, 0.99), (1, math.nan), "in [0, 1)"),
        (Annotated[int, Range(most=3)], (3, -9), (4,), "at most 3"),
        (Annotated[float, Range(below=3)], (2.9, -9), (3,), "< 3"),
        (Positive, (), (math.inf, 10**400), "a number that is finite"),
        (float, (-1.7e308, 0), (math.inf, -math.inf, math.nan, -(10**400)), "a number that is"),
        (int, (-(2**63) + 1,), (2**63, 10**5000), "a whole number below 2^63"),
        (Count, (), (1.0, "1", None, 1e308, [1]), "a whole number"),
        (Positive, (), ("1", None, {}, 1j), "a number"),
        (Count | None, (None, 1), (0,), "at least 1"),
        (Count | None, (), ("x",), "a whole number"),
        (Literal["a", "b"], ("a",), ("c", None, 0), "one of a, b"),
        (Positive | list[Positive], (1, [1.0, 2], (3,)), (0,), "> 0"),
        (tuple[Count, Count], ((1, 2), [1, 2]), (), ""),
        (tuple[Count, Count], (), ((1,), ()), "2 values"),
        (list[Count], ([], [1], range(1, 9)), ("12", 3), "a list"),
    ],
)
def test_a_value_is_checked_against_its_annotation(kind, inside, outside, said):
    for value in inside:
        check(kind, value, "key")
    for value in outside:
        with pytest.raises(InputError) as caught:
            check(kind, value, "key")
        assert str(caught.value).startswith(f"key: expected {said}")
        assert len(str(caught.value)) < 200


def test_numbers_inside_of_collections_are_named():
    for kind, value, key in [
        (list[Count], [1, 2, 0], "key.2"),
        (Positive | list[Positive], [1, -1], "key.1"),
        (tuple[Count, ...], (1, math.nan), "key.1"),
        (Mapping[str, NonNegative], {"a": 0, "b": -1}, "key.b"),
        (dict[str, list[Count]] | None, {"a": [1], "b": [0]}, "key.b.0"),
        (Sequence[Annotated[int, Range(2)]], (1,), "key.0"),
    ]:
        with pytest.raises(InputError, match=rf"^{key}: expected"):
            check(kind, value, "key")


@dataclass(frozen=True)
class Settings(Checked):
    weight: NonNegative = 1.0
    kind: Literal["one", "two"] = "one"
    other: Any = None


class Base(Checked, ABC):
    def __init__(self, first: object, *, size: Count = 1) -> None:
        self.first, self.size = first, size

    @abstractmethod
    def made(self) -> None: ...


class Final(Base):
    def made(self) -> None: ...


class Handing(Final):
    def __init__(self, *others: int, more: Share = 1.0, **settings: Any) -> None:
        super().__init__(others, **settings)


def test_constructors_check_before_they_run():
    for arguments in ({"weight": -1}, {"weight": "x"}, {"kind": "three"}):
        (name,) = arguments
        with pytest.raises(InputError, match=rf"^Settings\.{name}: expected"):
            Settings(**arguments)
    with pytest.raises(InputError, match=r"^Settings\.weight"):
        Settings(-2.0)
    with pytest.raises(InputError, match=r"^Settings\.weight"):
        replace(Settings(), weight=math.nan)
    with pytest.raises(InputError, match=r"^Final\.size: expected at least 1, got 0"):
        Final(None, size=0)
    assert Final(None, size=2).size == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'sise'"):
        Final(None, sise=2)
    assert Handing("a", "b", size=3).size == 3
    for arguments in ({"size": 0}, {"more": 2}):
        with pytest.raises(InputError, match=rf"^Handing\.{next(iter(arguments))}: expected"):
            Handing(1, **arguments)
    with pytest.raises(TypeError, match="abstract"):
        Base(None)


def test_checked_objects_are_copied_and_sent():
    settings = Settings(weight=2.0, other=[1])
    for other in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert other == settings and other.other is not settings.other
