"""The study of latents: errors of a linear classifier, and the quality of samples."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
