"""Datasets: one file each. A class defined in a file of this folder can be named in a config."""

import importlib
import pkgutil

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, DatasetFactory, Listing, Splits, data_root

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Dataset", "DatasetFactory", "ImageBank", "Listing", "Splits", "data_root"]
