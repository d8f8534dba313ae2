"""Omniglot and its splits."""

from fewshot.data.omniglot.dataset import Omniglot

__all__ = ["Omniglot"]
