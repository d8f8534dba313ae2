"""Sparse codes of images, and dictionaries that share one code with labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
