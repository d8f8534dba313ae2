from .base import Executor, Serial
from .local import Local

__all__ = ["Executor", "Local", "Serial"]
