"""Sheets: the images of a figure at their own resolution, with the labels of rows and columns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guided.storage.files import write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIELDS = ("rows", "columns", "bars")


@dataclass(frozen=True, eq=False)
class Sheet:
    """Images side by side.

    As a file: a PNG whose text fields ``rows``, ``columns`` and ``bars`` hold these as JSON.

    Attributes:
        pixels: uint8 ``[H, W]``, or ``[H, W, 3]``.
        rows: a label for each row of images; may be empty texts.
        columns: a label for each column of images; may be empty texts.
        bars: a number for each row, to be drawn beside it; empty: none.
    """

    pixels: NDArray[np.uint8]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    bars: tuple[float, ...] = ()

    @classmethod
    def of(cls, figure: "Figure", bars: Sequence[float] = ()) -> "Sheet":
        """The images and labels of a figure that :func:`.labelled_rows` made."""
        (axes,) = figure.axes
        (shown,) = axes.images
        values = np.asarray(shown.get_array(), dtype=np.float32)
        return cls(
            np.rint(255 * values.clip(0, 1)).astype(np.uint8),
            tuple(label.get_text() for label in axes.get_yticklabels()),
            tuple(label.get_text() for label in axes.get_xticklabels()),
            tuple(round(bar, 3) for bar in bars),
        )

    def save(self, path: Path) -> None:
        """Write a PNG."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        labels = PngInfo()
        for name in FIELDS:
            labels.add_text(name, json.dumps(getattr(self, name)))
        image = Image.fromarray(self.pixels)
        write_picture(path, lambda handle: image.save(handle, "png", pnginfo=labels, optimize=True))

    @classmethod
    def load(cls, path: Path) -> "Sheet":
        """Read what :meth:`save` wrote."""
        from PIL import Image

        with Image.open(path) as image:
            # Sheets of earlier versions have no bars.
            texts = {n: tuple(json.loads(image.info[n])) for n in FIELDS if n in image.info}
            return cls(np.asarray(image), **texts)
