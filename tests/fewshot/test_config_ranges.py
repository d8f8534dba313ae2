"""Every number that a configuration can hold, walked by its type."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import pytest

from fewshot.commands.compare import CompareConfig
from fewshot.commands.evaluate import EvaluateCommand
from fewshot.commands.inspect import InspectCommand
from fewshot.commands.lake import LakeConfig
from fewshot.commands.nica import NicaConfig
from fewshot.commands.pretrain import PretrainCommand
from fewshot.commands.probe import ProbeConfig
from fewshot.commands.replay import ReplayCommand
from fewshot.commands.select import SelectCommand
from fewshot.commands.train import TrainCommand
from fewshot.config.build import build_options
from fewshot.config.classes import is_chosen, own_classes
from fewshot.config.reference import reference
from guided import InputError
from guided.ranges import MAPPINGS, SEQUENCES, UNIONS, without_range

COMMANDS = [
    CompareConfig,
    EvaluateCommand,
    InspectCommand,
    LakeConfig,
    NicaConfig,
    PretrainCommand,
    ProbeConfig,
    ReplayCommand,
    SelectCommand,
    TrainCommand,
]
NEVER = [math.nan, math.inf, -math.inf, 10**400, -(10**400), "x", {}]
SOMETIMES = [-1e308, 1e308, 2**62, -(2**62), 0, -1, 1]


def walk(target: type, skip: int, seen: set[type]) -> Iterator[tuple[type, int]]:
    """A class and those that its settings are made of, with the arguments that are no settings."""
    if target in seen:
        return
    seen.add(target)
    yield target, skip
    for parameter in list(inspect.signature(target, eval_str=True).parameters.values())[skip:]:
        yield from _inside(parameter.annotation, seen)


def _inside(kind: Any, seen: set[type]) -> Iterator[tuple[type, int]]:
    if get_origin(kind) is Callable:
        arguments, base = get_args(kind)
        for target in own_classes(base).values():
            yield from walk(target, len(arguments), seen)
    elif inspect.isclass(kind) and is_chosen(kind):
        for target in own_classes(kind).values():
            yield from walk(target, 0, seen)
    elif inspect.isclass(kind) and dataclasses.is_dataclass(kind):
        yield from walk(kind, 0, seen)
    for argument in get_args(kind):
        yield from _inside(argument, seen)


def numbers(kind: Any, value: Any) -> Iterator[tuple[Any, str]]:
    """The places for a number in a value of a type, filled in, and the range of each."""
    inner, bounds = without_range(kind)
    origin, arguments = get_origin(inner), get_args(inner)
    if inner in (int, float):
        yield value, str(bounds)
    elif origin in UNIONS:
        for argument in arguments:
            yield from numbers(argument, value)
    elif origin is tuple and arguments[-1] is not Ellipsis:
        for held, found in numbers(arguments[0], value):
            yield [held] * len(arguments), found
    elif origin in SEQUENCES:
        for held, found in numbers(arguments[0], value):
            yield [held], found
    elif origin in MAPPINGS:
        for held, found in numbers(arguments[1], value):
            yield {"rotation": held}, found


def refusal(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except InputError as error:
        return str(error)
    return None


SEEN: set[type] = set()
FIELDS = [
    pytest.param(target, skip, name, id=f"{target.__name__}.{name}")
    for command in COMMANDS
    for target, skip in walk(command, 0, SEEN)
    for name, parameter in list(inspect.signature(target, eval_str=True).parameters.items())[skip:]
    if any(True for _ in numbers(parameter.annotation, 0))
]


@pytest.mark.parametrize(("target", "skip", "name"), FIELDS)
def test_a_number_is_built_or_refused_by_name(target, skip, name):
    kind = inspect.signature(target, eval_str=True).parameters[name].annotation
    required = [
        p.name
        for p in inspect.signature(target).parameters.values()
        if p.default is p.empty and p.name != name
    ]
    for value in NEVER + SOMETIMES:
        for held, bounds in numbers(kind, value):
            assert bounds, "declare a range"
            read = refusal(lambda held=held: build_options(target, {name: [held]}, "key", skip))
            made = refusal(lambda held=held: target.__new__(target, **{name: held}))
            assert (read is None) == (made is None), (value, read, made)
            assert read or any(value is other for other in SOMETIMES), value
            if read:
                assert read.startswith(f"key.{name}") and read.count("\n") == 0
                assert made.startswith(f"{target.__name__}.{name}") and len(made) < 200
            if dataclasses.is_dataclass(target) and not required:
                message = refusal(lambda held=held: target(**{name: held}))
                assert message or not read


def test_all_kinds_of_classes_were_walked():
    names = {target.__name__ for target in SEEN}
    assert {"PretrainConfig", "Capacity", "Conv4", "MAML", "Glyphs", "ClusterTasks"} <= names
    assert {"SparseCoding", "Gaussian", "Langevin", "Estimator", "Setting", "Published"} <= names
    assert len(FIELDS) > 150


def test_the_reference_shows_ranges():
    text = " ".join(reference(CompareConfig, "fewshot compare").split())
    for shown in (
        "--pretrain.kl_weight float at least 0 (default: 1.0)",
        "--arms.NAME.labelled float in (0, 1] (default: 1.0)",
        "--seeds [int at least 0, ...]",
        "--workers int at least 1 | null",
        "width=64 (at least 1), downsample=stride",
        "attributes (required) (at least 1)",
        "drop=0.1 (in [0, 1))",
    ):
        assert shown in text, shown
