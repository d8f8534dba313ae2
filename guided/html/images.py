"""Pictures inside the page, as data URIs of few bytes."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guided.figures.sheets import Sheet
from guided.storage.files import read_pixels

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

GREYS = 16
"""Levels of grey that are kept; they are told apart by nobody on an image of 28 pixels."""

SMALL = 48
"""Pixels of the side of a single image, at most."""


def of_image(image: NDArray[np.uint8]) -> str:
    """The data URI of one image ``[C, H, W]``."""
    from PIL import Image

    channels = image.shape[0]
    pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SMALL, SMALL))
    return _uri(picture)


def _uri(picture: "Picture") -> str:
    """PNG of few greys, or JPEG for a picture with colours."""
    content = io.BytesIO()
    if picture.mode == "L":
        picture.quantize(GREYS).save(content, "png", optimize=True)
        kind = "png"
    else:
        picture.convert("RGB").save(content, "jpeg", quality=75, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


@dataclass(frozen=True)
class Shown:
    """A sheet in the page.

    Attributes:
        uri: the picture.
        rows, columns: labels.
        bars: a number for each row, and its share of the largest, or of 1; empty: none.
        width, height: of the picture in pixels.
    """

    uri: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    bars: tuple[tuple[float, float], ...]
    width: int
    height: int


def of_sheet(path: Path, max_pixels: int, rows: slice = slice(None)) -> Shown:
    """A sheet's data URI and labels.

    Args:
        path: of the PNG.
        max_pixels: above which it is scaled down.
        rows: those of its rows of images that are shown.
    """
    from PIL import Image

    sheet = Sheet.load(path)
    step = len(sheet.pixels) // len(sheet.rows)
    start, stop, _ = rows.indices(len(sheet.rows))
    pixels = sheet.pixels[start * step : stop * step]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width * picture.height > max_pixels:
        factor = (max_pixels / (picture.width * picture.height)) ** 0.5
        size = max(1, int(picture.width * factor)), max(1, int(picture.height * factor))
        picture = picture.resize(size)
    most = max([*sheet.bars, 1.0])  # a bar of next to nothing stays short
    bars = tuple((bar, bar / most) for bar in sheet.bars[rows])
    labels = sheet.rows[rows], sheet.columns
    return Shown(_uri(picture), *labels, bars, picture.width, picture.height)


def of_figure(file: Path) -> tuple[str, int, int]:
    """The data URI of a figure's PNG, its width and height in pixels."""
    from PIL import Image

    picture = Image.fromarray(read_pixels(file))
    content = io.BytesIO()
    picture.quantize(64).save(content, "png", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    return uri, picture.width, picture.height
