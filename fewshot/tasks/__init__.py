"""Tasks for meta-training without labels, one file a source. A configuration names the class."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
