"""Configurations as plain values: saved with a run, and the base of every digest."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fewshot.config.classes import class_name, is_chosen, is_own
from fewshot.config.sources import source_digest


def describe(value: Any, *, full: bool = False) -> Any:
    """A configuration as plain JSON-able values.

    A description omits what equals its default, so that a new option changes no digest until it
    is used. A class to be built later (``functools.partial``, or the class itself) and an
    instance of a chosen class become ``{class_path, init_args}``, as in a YAML file.

    Args:
        value: dataclasses, factories, containers and plain values, nested in any way.
        full: spell out the defaults too, for a reader; never for a digest.

    Raises:
        TypeError: something else, for example a lambda.
    """
    if isinstance(value, functools.partial | type):
        given = value.keywords if isinstance(value, functools.partial) else {}
        return _choice(made_by(value), given, full)
    if dataclasses.is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kind = type(value)
        return _choice(kind, held, full) if is_chosen(kind) else _settings(kind, held, full)
    if isinstance(value, Mapping):
        return {str(key): describe(item, full=full) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item, full=full) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot describe {value!r}: use functools.partial(Class, key=value)")


def _choice(target: Callable[..., Any], given: Mapping[str, Any], full: bool) -> dict[str, Any]:
    settings = _settings(target, given, full)
    choice = {"class_path": class_name(target), **({"init_args": settings} if settings else {})}
    # A class from outside is known by its code too: an edited one is another, as is one of the
    # same path in another folder.
    return choice if full or is_own(target) else {**choice, "source": source_digest(target)}


def _settings(target: Callable[..., Any], given: Mapping[str, Any], full: bool) -> dict[str, Any]:
    normal = defaults(target)
    if full:
        rest = {key: item for key, item in normal.items() if key not in given}
        return {key: describe(item, full=True) for key, item in {**given, **rest}.items()}
    described = {key: describe(item) for key, item in given.items()}
    return {
        key: item
        for key, item in described.items()
        if key not in normal or item != describe(normal[key])
    }


def defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """The default of every setting of a class that has one."""
    if not dataclasses.is_dataclass(target):
        parameters = list(inspect.signature(target).parameters.values())
        # The first positional one is no setting: a dataset's root, an encoder's image shape.
        if parameters and parameters[0].kind is not parameters[0].KEYWORD_ONLY:
            del parameters[0]
        return {p.name: p.default for p in parameters if p.default is not p.empty}
    found = {}
    for field in dataclasses.fields(target):
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
    return found


def made_by(factory: Any) -> Any:
    """The class that a factory (``functools.partial``, or the class itself) builds."""
    return factory.func if isinstance(factory, functools.partial) else factory


def settings_of(factory: Any) -> dict[str, Any]:
    """All settings with which a factory builds its class, as plain values."""
    found: dict[str, Any] = describe(factory, full=True).get("init_args", {})
    return found


def to_yaml(value: Any) -> str:
    """The full description as YAML text, which :func:`fewshot.config.parse` reads back."""
    import yaml

    text: str = yaml.safe_dump(describe(value, full=True), sort_keys=False, allow_unicode=True)
    return text


def write_yaml(path: Path, value: Any) -> None:
    """Write :func:`to_yaml` to a file, atomically."""
    from guided.storage.files import write_bytes

    write_bytes(path, to_yaml(value).encode())
