"""Classes by name: ours by bare name, those of other packages by import path."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from guided.errors import InputError

PACKAGES = (
    "guided.backbones",
    "guided.guidance",
    "guided.likelihoods",
    "guided.training.encoders",
    "fewshot.data",
    "fewshot.learners",
    "fewshot.tasks",
)
"""The packages whose public classes a configuration can name without a path."""

OWN = ("guided", "fewshot")


def class_name(target: Callable[..., Any]) -> str:
    """The import path of a class: where it is public for ours, of its definition for others.

    A class has one, wherever it is imported from: ``Prototypical`` and
    ``fewshot.learners.prototypical.Prototypical`` are ``fewshot.learners.Prototypical``.
    """
    for package in PACKAGES:
        below = f"{target.__module__}.".startswith(f"{package}.")
        if below and getattr(importlib.import_module(package), target.__name__, None) is target:
            return f"{package}.{target.__name__}"
    return f"{target.__module__}.{target.__qualname__}"


def short_name(target: Callable[..., Any]) -> str:
    """The name of a class for a reader: without its path for ours."""
    return target.__name__ if is_own(target) else class_name(target)


def is_own(target: Callable[..., Any]) -> bool:
    """True for a class of this package."""
    return target.__module__.partition(".")[0] in OWN


def is_chosen(kind: type) -> bool:
    """True for a class that is one of several: it implements an abstract one."""
    return any(inspect.isabstract(base) for base in kind.__mro__)


def own_classes(base: type) -> dict[str, type]:
    """Our classes that implement ``base``, by bare name."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", vars(module)):
            item = getattr(module, name)
            if inspect.isclass(item) and issubclass(item, base) and not inspect.isabstract(item):
                found[item.__name__] = item
    return found


def find_class(name: str, base: type) -> type:
    """The class that a configuration names.

    Args:
        name: bare for ours, ``package.module.Class`` for others; the current folder is searched
            last.
        base: the class that it must implement.

    Raises:
        InputError: no such class, or one of another kind.
    """
    own = own_classes(base)
    if name in own:
        return own[name]
    if "." not in name:
        choices = ", ".join(sorted(own))
        meant = nearest(name, own) or "."
        raise InputError(f"no class is called '{name}'{meant} {base.__name__}s: {choices}")
    path, _, last = name.rpartition(".")
    found = getattr(import_module(path), last, None)
    if found is None:
        raise InputError(f"module {path} has no class '{last}'")
    if not (inspect.isclass(found) and issubclass(found, base)) or inspect.isabstract(found):
        raise InputError(f"{name} is not a class that implements {base.__name__}")
    return found


def import_module(name: str) -> ModuleType:
    """Import a module that a configuration names; the current folder is searched last.

    Raises:
        InputError: there is no such module.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except (TypeError, ValueError) as error:
        if name.strip() and not name.startswith("."):
            raise
        raise InputError(f"expected a module's name, got {name!r}") from error
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise InputError(
            f"no module is called '{name}'; searched the installed packages and {here}"
        ) from error


def nearest(word: str, known: Iterable[str], before: str = "") -> str:
    """``; did you mean X?``, or nothing where no known word is close.

    Args:
        word: as it was written.
        known: the words that would be right.
        before: what the suggestion starts with, the keys that lead to it.
    """
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {before}{close[0]}?" if close else ""
