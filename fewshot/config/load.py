"""Configuration files and overrides to one typed configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fewshot.config.build import Argument, build
from fewshot.config.classes import import_module
from fewshot.config.description import describe
from fewshot.config.files import KeyFault, read_file, read_yaml
from guided.errors import InputError

T = TypeVar("T")

CHOICE = ("class_path", "init_args")


def load(
    config_class: type[T],
    source: Path | str | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> T:
    """Build a configuration.

    Args:
        config_class: a dataclass; its fields are the keys.
        source: a YAML file, or what one would hold.
        overrides: full key -> value, ``{"pretrain.steps": 100}``; each replaces what stood there,
            a key's before those of the keys below it.

    Raises:
        InputError: an unreadable file, or an unknown key, class or choice, or a value of another
            type; the message names the file and the full key.
    """
    file = Path(source).expanduser() if isinstance(source, Path | str) else None
    tree = read_file(file) if file else _copied(source or {})
    for key, value in sorted((overrides or {}).items(), key=lambda item: item[0].count(".")):
        override(tree, key, value if isinstance(value, Argument) else describe(value, full=True))
    try:
        _import(build(list[str], tree.get("imports", []), "imports"))
        config: T = build(config_class, tree)
    except KeyFault as fault:
        overridden = any(_same_branch(fault.key, key) for key in overrides or {})
        if file is None or overridden:
            raise
        raise InputError(f"{file}: {fault}") from fault
    return config


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            import_module(module)
        except InputError as error:
            raise KeyFault("imports", str(error)) from error


def override(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a full key, in place; ``-`` and ``_`` are the same in the keys' names.

    Raises:
        KeyFault: the key leads through something that has no keys.
    """
    parts = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parts[:-1]):
        where = _spelled(node, part)
        here = ".".join(parts[: depth + 1])
        child = _child(node, where, here)
        if isinstance(child, Argument):
            child = read_yaml(child, here)
        following = parts[depth + 1]
        if isinstance(child, str) and following.replace("-", "_") in CHOICE:
            child = {"class_path": child}  # it was given by its name alone
        node[where] = child
        node = child
    where = _spelled(node, parts[-1])
    _child(node, where, key)
    node[where] = value


def _child(node: Any, where: Any, key: str) -> Any:
    if isinstance(node, list):
        if not isinstance(where, int) or where >= len(node):
            raise KeyFault(key, f"expected the position in a list of {len(node)}, from 0")
        return node[where]
    if not isinstance(node, dict):
        raise KeyFault(key, f"there is only the value {node}, which has no keys")
    child = node.get(where)
    return {} if child is None else child


def _spelled(node: Any, part: str) -> Any:
    """The key of ``node`` that is meant: the same but for dashes, or a position in a list."""
    if isinstance(node, list):
        return int(part) if part.isdecimal() else part
    if not isinstance(node, dict) or part in node:
        return part
    plain = part.replace("-", "_")
    return next((k for k in node if str(k).replace("-", "_") == plain), part)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _same_branch(key: str, other: str) -> bool:
    one, two = (f"{k.replace('-', '_')}." for k in (key, other))
    return one.startswith(two) or two.startswith(one)
