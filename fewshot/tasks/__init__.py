"""Tasks for meta-training without labels: one file a source, named in a config by its class."""

import importlib
import pkgutil

from fewshot.tasks.base import TaskContext, TaskFactory, TaskSource

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["TaskContext", "TaskFactory", "TaskSource"]
