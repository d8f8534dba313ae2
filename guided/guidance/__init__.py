"""Guidance strategies, one file each: extra terms that shape the latents while a VAE trains."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
