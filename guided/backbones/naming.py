"""The names by which encoder files refer to backbones."""

import inspect
import sys

from guided import backbones
from guided.backbones.base import Backbone
from guided.errors import InputError


def backbone_name(cls: type[Backbone]) -> str:
    """The name of a backbone of this package; the import path of any other, ``mine.Net``."""
    if getattr(backbones, cls.__name__, None) is cls:
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


def backbone_class(name: str) -> type[Backbone]:
    """The class that :func:`backbone_name` named. Nothing but this package is imported.

    Raises:
        InputError: this package has no such backbone, or the class is not imported.
    """
    module, _, own = name.rpartition(".")
    if module:
        found = getattr(sys.modules.get(module), own, None)
    else:
        found = getattr(backbones, own) if own in dir(backbones) else None
    if isinstance(found, type) and issubclass(found, Backbone) and not inspect.isabstract(found):
        return found
    if module:
        raise InputError(
            f"was made by {name}, which is not imported: import it first, "
            f"or name its module with --imports '[{module}]'"
        )
    known = [n for n in dir(backbones) if n not in ("Backbone", "BackboneFactory", "ImageShape")]
    raise InputError(f"backbone: {name!r} is not one of {', '.join(known)}")
