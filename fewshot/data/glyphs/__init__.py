"""Procedural handwriting."""

from fewshot.data.glyphs.dataset import Glyphs

__all__ = ["Glyphs"]
