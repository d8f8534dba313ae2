"""Lake's one-shot classification task, by the encoders and learners of a study."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
