"""The text of ``fewshot COMMAND --help-all``: every key with its type, default and meaning."""

import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from fewshot.config.classes import is_chosen, own_classes, short_name
from fewshot.config.description import defaults, describe, made_by
from guided.ranges import MAPPINGS, SEQUENCES, UNIONS, without_range

WIDTH = 80


def reference(config_class: type, prog: str) -> str:
    """Every key of a command, and the classes that can be named, with their settings."""
    lines = [f"usage: {prog} [FILE] [--key value ...]", "", *_wrapped(_summary(config_class), "")]
    seen: dict[type, str] = {}
    bases: dict[type, int] = {}
    for key, kind, default, meaning in _keys(config_class, "", seen, bases):
        lines += ["", f"--{key} {_type_name(kind)}{default}", *_wrapped(meaning, "    ")]
    for base, skip in bases.items():
        lines += ["", f"{base.__name__}s, for class_path, with their init_args:"]
        for name, target in sorted(own_classes(base).items()):
            lines += ["", *_wrapped(f"{name}: {_summary(target)}", "  ")]
            settings = _settings(target, skip)
            lines += _wrapped(settings, "      ") if settings else []
    return "\n".join(lines) + "\n"


def _keys(
    config_class: type, prefix: str, seen: dict[type, str], bases: dict[type, int]
) -> Iterator[tuple[str, Any, str, str]]:
    """Key, type, default and meaning of each field; nested ones follow where they first appear.

    Collects in ``seen`` each nested dataclass with its first key, in ``bases`` each abstract class
    that a key names an implementation of, with the number of its arguments that are not settings.
    """
    hints, normal = typing.get_type_hints(config_class, include_extras=True), defaults(config_class)
    meanings = _meanings(config_class)
    for field in dataclasses.fields(config_class):
        kind, key = hints[field.name], prefix + field.name
        inside, below = _nested(kind)
        default = _default(normal[field.name]) if field.name in normal else " (required)"
        meaning = meanings.get(field.name, "")
        if inside in seen:
            meaning += f" The keys below it are those of --{seen[inside]}."
        yield key, kind, default, meaning
        bases.update(_bases(kind))
        if inside is not None and inside not in seen:
            seen[inside] = key
            yield from _keys(inside, f"{key}{below}.", seen, bases)


def _nested(kind: Any) -> tuple[type | None, str]:
    """The dataclass whose fields are keys below this one, and what stands between."""
    kind, _ = without_range(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        found = [_nested(a) for a in arguments]
        return next((f for f in found if f[0]), (None, ""))
    if origin in (list, dict) and arguments:
        inside, below = _nested(arguments[-1])
        return inside, (".0" if origin is list else ".NAME") + below
    plain = inspect.isclass(kind) and dataclasses.is_dataclass(kind) and not is_chosen(kind)
    return (kind if plain else None), ""


def _bases(kind: Any) -> dict[type, int]:
    """The abstract classes that a value of this type names an implementation of."""
    if get_origin(kind) is Callable:
        arguments, base = get_args(kind)
        return {base: len(arguments)}
    if inspect.isclass(kind) and is_chosen(kind):
        return {kind: 0}
    return {base: n for argument in get_args(kind) for base, n in _bases(argument).items()}


def _type_name(kind: Any) -> str:
    kind, bounds = without_range(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "null"
    if origin is Literal:
        return "{" + ",".join(str(a) for a in arguments) + "}"
    if origin in UNIONS:
        return " | ".join(_type_name(a) for a in arguments)
    if origin is Callable:
        return _type_name(arguments[1])
    if origin in SEQUENCES:
        return f"[{_type_name(arguments[0])}, ...]"
    if origin in MAPPINGS:
        return f"{{NAME: {_type_name(arguments[1])}}}"
    name = kind.__name__.lower() if kind.__module__ in ("builtins", "pathlib") else kind.__name__
    return f"{name} {bounds}".strip()


def _default(value: Any) -> str:
    described = describe(value)
    if isinstance(described, dict) and "class_path" in described:
        made = made_by(value)
        described = short_name(made if inspect.isclass(made) else type(made))
    if described is None or isinstance(described, dict | list):
        return ""
    return f" (default: {str(described).lower() if isinstance(described, bool) else described})"


def _settings(target: type, skip: int) -> str:
    parameters = list(inspect.signature(target, eval_str=True).parameters.values())[skip:]
    normal = defaults(target)
    return ", ".join(
        (f"{p.name}={describe(normal[p.name])}" if p.name in normal else f"{p.name} (required)")
        + _bounds(p.annotation)
        for p in parameters
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


def _bounds(kind: Any) -> str:
    """`` (at least 1)`` of a number, or of the numbers that it holds."""
    _, bounds = without_range(kind)
    if str(bounds):
        return f" ({bounds})"
    return next((found for inner in get_args(kind) if (found := _bounds(inner))), "")


def _meanings(config_class: type) -> dict[str, str]:
    """Field -> its line in the docstring of the class, or of the base that defines it."""
    from docstring_parser import parse

    found: dict[str, str] = {}
    for kind in reversed(config_class.__mro__):
        for entry in parse(kind.__doc__ or "").params:
            for name in entry.arg_name.split(", "):
                found[name] = " ".join((entry.description or "").split())
    return found


def _summary(target: type) -> str:
    return " ".join((inspect.getdoc(target) or "").split("\n\n")[0].split())


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text.replace("``", ""), WIDTH, initial_indent=indent, subsequent_indent=indent
    )
