"""Plain values to typed objects; every mistake is one line with the full key."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fewshot.config.classes import find_class, is_chosen, nearest
from fewshot.config.files import KeyFault, read_yaml
from guided.errors import InputError
from guided.ranges import MAPPINGS, SEQUENCES, UNIONS, Range, shown, without_range

PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


class Argument(str):
    """A value from the command line: a text, or YAML where another type is expected."""


def build(kind: Any, value: Any, key: str = "") -> Any:
    """An object of a type from plain values.

    Classes to be built later (``Callable[..., Base]``) become ``functools.partial``; chosen
    settings (a dataclass that implements an abstract one) become instances.

    Args:
        kind: a type, as annotated: dataclass, list, Literal, union …
        value: what YAML gives.
        key: where the value stands, for messages.

    Raises:
        KeyFault: the first mistake.
    """
    if isinstance(value, Argument):
        value = _typed(kind, value, key)
    if kind is Any:
        return value
    kind, bounds = without_range(kind)
    origin = get_origin(kind)
    if origin in UNIONS:
        return _build_union(get_args(kind), value, key)
    if origin is Literal:
        return _build_literal(get_args(kind), value, key)
    if origin in SEQUENCES:
        return _build_sequence(origin, get_args(kind), value, key)
    if origin in MAPPINGS:
        held = _once(_mapping(value, key), key, str)
        return {k: build(get_args(kind)[1], v, f"{key}.{k}") for k, v in held.items()}
    if origin is Callable:
        arguments, base = get_args(kind)
        target, settings = _build_choice(base, value, key, skip=len(arguments))
        return functools.partial(target, **settings)
    if kind in PLAIN:
        return _build_plain(kind, value, key, bounds)
    if is_chosen(kind):
        return _made(*_build_choice(kind, value, key), f"{key}.init_args")
    return _build_dataclass(kind, value, key)


def _typed(kind: Any, value: Argument, key: str) -> Any:
    kind, _ = without_range(kind)
    alternatives = [kind] if get_origin(kind) is Callable else [kind, *get_args(kind)]
    loaded = read_yaml(value, key)
    if loaded is None and type(None) in alternatives:
        return None
    texts = any(a in (str, Path) or isinstance(a, str) for a in alternatives)
    return str(value) if texts and not isinstance(loaded, list | dict) else loaded


class _OutOfRange(KeyFault):
    """A number, but not one of those that the key may be."""


def _build_plain(kind: type, value: Any, key: str, bounds: Range) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise KeyFault(key, f"expected {PLAIN[kind]}, got {_shown(value)}")
    if kind in (int, float) and (message := bounds.refusal(value, kind)):
        raise _OutOfRange(key, message)
    return float(value) if kind is float and isinstance(value, int) else value


def _build_union(kinds: Sequence[Any], value: Any, key: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    faults = []
    for kind in (k for k in kinds if k is not type(None)):
        try:
            return build(kind, value, key)
        except KeyFault as fault:
            faults.append((kind, fault))
    words = [fault for kind, fault in faults if get_origin(kind) is Literal]
    if words and str(value).islower() and "." not in str(value):
        raise words[0]  # classes have capitals, or a path
    found = [fault for _, fault in faults]
    raise next((fault for fault in found if isinstance(fault, _OutOfRange)), found[-1])


def _build_literal(choices: Sequence[Any], value: Any, key: str) -> Any:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    words = [str(choice) for choice in choices]
    meant = nearest(str(value), words)
    raise KeyFault(key, f"expected one of {', '.join(words)}, got {_shown(value)}{meant}")


def _build_sequence(origin: type, kinds: Sequence[Any], value: Any, key: str) -> Any:
    if not isinstance(value, list):
        inside = shown(value).strip("[]() ")
        hint = "" if isinstance(value, dict) else f": write --{key} '[{inside}]'"
        raise KeyFault(key, f"expected a list, got {_shown(value)}{hint}")
    if origin is tuple and kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            raise KeyFault(key, f"expected {len(kinds)} values, got {len(value)}")
    else:
        kinds = [kinds[0]] * len(value)
    items = [
        build(kind, item, f"{key}.{i}")
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    ]
    return tuple(items) if origin is tuple else items


def _build_dataclass(kind: type, value: Any, key: str) -> Any:
    return _made(kind, _build_settings(kind, _mapping(value, key), key), key)


def _build_choice(base: type, value: Any, key: str, skip: int = 0) -> tuple[type, dict[str, Any]]:
    """The class that ``{class_path, init_args}``, or the name alone, stands for; its settings."""
    held = {"class_path": value} if isinstance(value, str) else _mapping(value, key)
    choice = _once(held, key, _underscored)
    for name in choice:
        if name not in ("class_path", "init_args"):
            known = "class_path and init_args, which holds the class's settings"
            raise KeyFault(f"{key}.{name}", f"no such key; expected {known}")
    if not isinstance(choice.get("class_path"), str):
        raise KeyFault(f"{key}.class_path", f"missing: the name of a {base.__name__} class")
    try:
        target = find_class(choice["class_path"], base)
    except InputError as error:
        raise KeyFault(key, str(error)) from error
    inside = f"{key}.init_args"
    given = choice.get("init_args") or {}
    given = read_yaml(given, inside) if isinstance(given, Argument) else given
    return target, _build_settings(target, _mapping(given, inside), inside, skip)


def _build_settings(
    target: type, given: Mapping[Any, Any], key: str, skip: int = 0
) -> dict[str, Any]:
    """A class's keyword arguments; the first ``skip`` parameters are not settings."""
    known = _parameters(target, skip)
    given = _known(given, known, key)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise KeyFault(_joined(key, name), "missing")
    return {
        name: build(known[name].annotation, item, _joined(key, name))
        for name, item in given.items()
    }


def build_options(
    target: type, given: Mapping[str, Any], key: str, skip: int = 0
) -> dict[str, list[Any]]:
    """Several values for some of a class's settings, each built as the setting is.

    Args:
        target: the class.
        given: setting -> a list of plain values.
        key: where they stand, for messages.
        skip: first parameters of the class that are not settings.

    Raises:
        KeyFault: the first mistake.
    """
    known = _parameters(target, skip)
    return {
        name: _build_sequence(list, [known[name].annotation], values, _joined(key, name))
        for name, values in _known(given, known, key).items()
    }


def _parameters(target: type, skip: int) -> dict[str, inspect.Parameter]:
    """The settings of a class."""
    parameters = list(inspect.signature(target, eval_str=True).parameters.items())[skip:]
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: parameter for name, parameter in parameters if parameter.kind in kinds}


def _known(given: Mapping[Any, Any], known: Collection[str], key: str) -> dict[str, Any]:
    """The same values by name, of which each must be known."""
    given = _once(given, key, _underscored)
    for name in given:
        if name not in known:
            meant = nearest(name, known, _joined(key, ""))
            listed = ", ".join(known) or "none"
            listed = f"{meant} Keys: {listed}" if meant else f"; expected one of {listed}"
            raise KeyFault(_joined(key, name), f"no such key{listed}")
    return given


def _once(given: Mapping[Any, Any], key: str, spelled: Callable[[Any], str]) -> dict[str, Any]:
    """The same values by name, of which none may stand twice, in one spelling or two."""
    found: dict[str, Any] = {}
    for name, item in given.items():
        if spelled(name) in found:
            raise KeyFault(_joined(key, str(name)), "is given twice, in two spellings")
        found[spelled(name)] = item
    return found


def _underscored(name: Any) -> str:
    return str(name).replace("-", "_")


def _made(target: type, settings: Mapping[str, Any], key: str) -> Any:
    """The object; what its constructor refuses is named with the full key."""
    try:
        return target(**settings)
    except KeyFault:
        raise
    except InputError as error:
        message = str(error).removeprefix(f"{target.__name__}.")
        field = re.match(r"\w+", message)
        if not field or field[0] not in inspect.signature(target).parameters:
            raise KeyFault(key, str(error)) from error
        name, _, message = message.partition(": ")
        raise KeyFault(_joined(key, name), message) from error


def _mapping(value: Any, key: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise KeyFault(key, f"expected a mapping of keys to values, got {_shown(value)}")
    return value


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else shown(value)
