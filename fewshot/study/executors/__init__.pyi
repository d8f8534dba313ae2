from .base import Executor, Serial, say_plainly
from .local import Local, Plan

__all__ = ["Executor", "Local", "Plan", "Serial", "say_plainly"]
