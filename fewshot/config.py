"""Typed configuration: YAML and ``--key value`` into dataclasses, and back into plain values."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse

from guided.errors import InputError

T = TypeVar("T")


def parse(config_class: type[T], argv: Sequence[str], prog: str) -> T:
    """Build a configuration dataclass from ``[file.yaml] [--key value …]``.

    Classes that a configuration may name (datasets, guidances, learners, backbones) must have
    been imported before.

    Args:
        config_class: a dataclass; its fields are the keys.
        argv: the arguments after the command's name.
        prog: the command's name, for ``--help``.

    Raises:
        InputError: an unknown key, a value of another type, an unreadable file.
        SystemExit: after ``--help`` and ``--print_config``.
    """
    parser = jsonargparse.ArgumentParser(
        prog=prog,
        description=(config_class.__doc__ or "").split("\n")[0],
        exit_on_error=False,
        print_config=None,  # the parser's own cannot write classes that are defaults
    )
    parser.add_argument("--config", action="config", help="a YAML file; later arguments override")
    parser.add_argument(
        "--print_config", action="store_true", help="print all of it as a YAML file, and exit"
    )
    parser.add_class_arguments(config_class, as_group=False)
    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        _check_file(Path(arguments[0]))
        arguments.insert(0, "--config")
    try:
        parsed = parser.instantiate(parser.parse_args(arguments))
        parsed.pop("config")
        asked = parsed.pop("print_config")
        config = config_class(**vars(parsed))
    except jsonargparse.ArgumentError as error:
        raise InputError(_one_line(str(error))) from error
    if asked:
        print(_yaml(config), end="")
        raise SystemExit(0)
    return config


def _check_file(path: Path) -> None:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not YAML ({_one_line(str(error))})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")


# The parser's way of putting it -> a reader's.
PLAINER = (
    (r"Type collections\.abc\.Callable\[.*?\] expects a function or a callable class: ", ""),
    (r"Expected a dot import path string: (\S+)", r"no class is called '\1'"),
    (r'Parser key "([\w.]+)":', r"\1:"),
    (r"\.? Got value: Namespace\(.*", ""),
    (r"Expected an? <class '(\w+)'>", r"expected \1"),
    (r"Expected an? typing\.Literal", "expected one of "),
    (r"\. Got value: ", ", got "),
)


def _one_line(message: str) -> str:
    """A parser's nested message as one line: ``arms: guidance: Option 'x' is not accepted``."""
    parts = []
    for line in (part.strip() for part in message.splitlines()):
        if line.startswith("Parser key "):
            line = line.removeprefix("Parser key ").replace('"', "").rstrip(":") + ":"
        elif line.startswith(("Problem with given class_path", "Problems parsing")):
            continue
        parts.append(line)
    text = " ".join(parts)
    for pattern, plain in PLAINER:
        text = re.sub(pattern, plain, text)
    return text


def describe(value: Any) -> Any:
    """A configuration as plain JSON-able values: what is saved with a run and identifies it.

    A class to be built later (``functools.partial``) becomes ``{class_path, init_args}``, the form
    in which a YAML file names it.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        # An option that was added later, unused: what was computed before it is the same.
        optional = {f for f in held if f.metadata.get("described") == "if changed"}
        kept = {f: v for f, v in held.items() if f not in optional or v != _default(f)}
        settings = {f.name: describe(v) for f, v in kept.items()}
        # One of several classes that a file chooses between: guidances.
        if any(map(inspect.isabstract, type(value).__mro__)):
            return {"class_path": type(value).__name__, "init_args": settings}
        return settings
    if isinstance(value, functools.partial):
        target = made_by(value)
        settings = {**_defaults(target), **value.keywords}
        return {"class_path": target.__name__, "init_args": describe(settings)}
    if isinstance(value, type):
        return {"class_path": value.__name__, "init_args": describe(_defaults(value))}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot describe {value!r}: use functools.partial(Class, key=value)")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is dataclasses.MISSING:
        return field.default
    return field.default_factory()


def made_by(factory: Any) -> Any:
    """The class that a factory (``functools.partial``, or the class itself) will build."""
    if not isinstance(factory, functools.partial):
        return factory
    # The parser's factories wrap the class; the class is the last positional argument.
    return factory.args[-1] if factory.args else factory.func


def _defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """A class's settings where nothing is said: the parser spells them out, Python does not."""
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def write_yaml(path: Path, value: Any) -> None:
    """The described configuration as a YAML file that :func:`parse` reads."""
    from guided.files import write_bytes

    write_bytes(path, _yaml(value).encode())


def _yaml(value: Any) -> str:
    import yaml

    written: str = yaml.safe_dump(describe(value), sort_keys=False)
    return written
