"""Encoders that are not trained as VAEs: the base class of their trainings, and one file each."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
