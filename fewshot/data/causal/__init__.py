"""Images whose factors cause each other: a pendulum and its shadow, water that flows from a cup."""

from fewshot.data.causal.flow import Flow
from fewshot.data.causal.pendulum import Pendulum

__all__ = ["Flow", "Pendulum"]
