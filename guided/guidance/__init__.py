"""Guidance strategies: one file each. A class defined here can be named in a config."""

import importlib
import pkgutil

from guided.guidance.base import Guidance, GuidanceContext, GuidanceFactory

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Guidance", "GuidanceContext", "GuidanceFactory"]
