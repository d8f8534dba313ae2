"""Sprites of known shape, scale, orientation and position, drawn here; and dSprites itself."""

from fewshot.data.sprites.dataset import Sprites
from fewshot.data.sprites.dsprites import DSprites

__all__ = ["DSprites", "Sprites"]
