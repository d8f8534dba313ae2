"""``[FILE] [--key value …]`` to a typed configuration."""

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from fewshot.config.build import Argument
from fewshot.config.description import to_yaml
from fewshot.config.load import load
from fewshot.config.reference import reference
from guided.errors import InputError

T = TypeVar("T")

FLAGS = ("help_all", "print_config")


def parse(config_class: type[T], argv: Sequence[str], prog: str, words: str = "") -> T:
    """Build a configuration dataclass from the arguments of a command.

    Args:
        config_class: its fields are the keys.
        argv: the arguments after the command's name.
        prog: the command's name, for ``--help-all``.
        words: the key whose list the words before the first option are, where there is one.

    Raises:
        InputError: see :func:`load`; or a key without a value.
        SystemExit: after ``--help-all`` and ``--print-config``.
    """
    first = list(takewhile(lambda word: not word.startswith("-"), argv)) if words else []
    # A JSON list of texts is a YAML one.
    given = [f"--{words}", json.dumps(first)] if first else []
    file, overrides, flags = split([*given, *argv[len(first) :]])
    if "help_all" in flags:
        print(reference(config_class, prog), end="")
        raise SystemExit(0)
    config = load(config_class, file, overrides)
    if "print_config" in flags:
        print(to_yaml(config), end="")
        raise SystemExit(0)
    return config


def split(argv: Sequence[str]) -> tuple[Path | None, dict[str, Argument], set[str]]:
    """The file, the overrides by full key, and the flags, wherever each stands."""
    file: Path | None = None
    overrides: dict[str, Argument] = {}
    flags: set[str] = set()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            if file is not None or word.startswith("-"):
                raise InputError(f"unexpected argument {word}: expected FILE.yaml or --key value")
            file = Path(word)
        elif key.replace("-", "_") in FLAGS and not equals:
            flags.add(key.replace("-", "_"))
        elif not equals and (not rest or rest[0].startswith("--")):
            raise InputError(f"{key}: expected a value: --{key} VALUE")
        else:
            if any(other.replace("-", "_") == key.replace("-", "_") for other in overrides):
                raise InputError(f"{key}: is given twice")
            overrides[key] = Argument(value if equals else rest.pop(0))
    return file, overrides, flags
