"""Glyphs, a dataset of procedural handwriting."""

from fewshot.data.glyphs.dataset import Glyphs

__all__ = ["Glyphs"]
