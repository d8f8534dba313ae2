"""Class-labelled images: each dataset, one file or folder here, yields an ``ImageBank`` a split."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
