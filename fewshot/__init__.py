"""Few-shot learning with (guided) VAE encoders: data, episodes, learners, evaluation, studies."""

from importlib.metadata import version

import lazy_loader

from guided.errors import InputError

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["InputError", "__version__"]
__version__ = version("guided-fewshot")
