"""The study of nonlinear ICA from finite samples: recovery of sources, by samples and width."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
