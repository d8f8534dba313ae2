from .base import Executor, Serial
from .local import Local, Plan

__all__ = ["Executor", "Local", "Plan", "Serial"]
