"""Encoders, each with the decoder that mirrors it: one file each, named in a config by class."""

import importlib
import pkgutil

from guided.backbones.base import Backbone, BackboneFactory, ImageShape
from guided.backbones.conv4 import Conv4
from guided.backbones.dense import Dense
from guided.backbones.guided_vae_net import GuidedVAENet
from guided.backbones.pixels import Pixels
from guided.backbones.resnet12 import ResNet12

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Backbone",
    "BackboneFactory",
    "Conv4",
    "Dense",
    "GuidedVAENet",
    "ImageShape",
    "Pixels",
    "ResNet12",
]
