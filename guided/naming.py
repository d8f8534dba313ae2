"""The names by which files refer to classes: ours by bare name, others by import path."""

import inspect
import sys
from types import ModuleType
from typing import Any

from guided.errors import InputError


def name_of(cls: type, home: ModuleType) -> str:
    """The name of a class that ``home`` has; the import path of any other, ``mine.Net``."""
    if getattr(home, cls.__name__, None) is cls:
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


def class_of(name: str, home: ModuleType, base: type) -> type[Any]:
    """The class that :func:`name_of` named. Nothing but this package is imported.

    Args:
        name: as in the file.
        home: the module of this package that has the classes of bare names.
        base: which the class implements.

    Raises:
        InputError: ``home`` has no such class, or the class is not imported.
    """
    module, _, own = name.rpartition(".")
    if module:
        found = getattr(sys.modules.get(module), own, None)
    else:
        found = getattr(home, own) if own in dir(home) else None
    if isinstance(found, type) and issubclass(found, base) and not inspect.isabstract(found):
        return found
    if module:
        raise InputError(
            f"was made by {name}, which is not imported: import it first, "
            f"or name its module with --imports '[{module}]'"
        )
    others = {n: getattr(home, n) for n in dir(home)}
    known = [n for n, o in others.items() if isinstance(o, type) and _adds_to(o, base)]
    raise InputError(f"{base.__name__.lower()}: {name!r} is not one of {', '.join(known)}")


def _adds_to(found: type, base: type) -> bool:
    return issubclass(found, base) and found is not base
