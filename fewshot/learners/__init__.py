"""Few-shot learners: one file each. A class defined here can be named in a config."""

import importlib
import pkgutil

from fewshot.learners.base import Learner, LearnerFactory

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Learner", "LearnerFactory"]
