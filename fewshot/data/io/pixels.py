"""Pixels of one image file, which may be damaged, hostile or huge."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError, reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow has more, some of which start other programs (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
LARGE = 2**30 // 12  # pixels: larger images are reduced before anything else is done with them
MOST_OF_A_BYTE = 10_000  # pixels of a large image; PNG and JPEG have at most 1,000 of one colour
LARGEST = 2**28  # pixels: a gigabyte


class UnusableImage(InputError):
    """An image cannot be used.

    Attributes:
        reason: a few words.
        remedy: what to do with ``{}``: it, or them.
    """

    def __init__(self, message: str, remedy: str, reason: str = "") -> None:
        super().__init__(f"{message} ({reason})" if reason else message)
        self.reason, self.remedy = reason or message, remedy


@contextmanager
def large_images() -> Iterator[None]:
    """Let Pillow read images of up to ``LARGEST`` pixels, without a warning."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = LARGEST // 2  # it warns of more than this, and refuses twice as many
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixels_of(content: bytes, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """The image of a file, cut and resized, uint8 ``[channels, H, W]``.

    Args:
        content: of the file.
        size: (H, W).
        channels: 1 or 3.

    Raises:
        UnusableImage: it cannot be decoded, or has other channels.
    """
    from PIL import Image

    image = _load(content, size)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image).convert("RGB")
    if channels == 3:
        image = image.convert("RGB")
    elif image.mode not in ("1", "L"):
        image = _grey(image)
    else:
        image = image.convert("L")
    return np.asarray(fit(image, size)).reshape(*size, channels).transpose(2, 0, 1)


def fit(image: "Image", size: tuple[int, int]) -> "Image":
    """Cut out the largest centred part with the aspect ratio of (H, W), and resize it (Lanczos)."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)


def _load(content: bytes, size: tuple[int, int]) -> "Image":
    """The decoded image, turned upright; a huge one is reduced to a size that is still ample."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.mode not in EIGHT_BIT:
            raise UnusableImage(f"expected 8 bits per channel, got mode {image.mode}", "convert {}")
        n = image.width * image.height
        huge = n > LARGE
        if huge and n > MOST_OF_A_BYTE * len(content):
            raise UnusableImage(f"states {n:,} pixels in {len(content):,} bytes", "replace {}")
        if huge:
            image.draft(None, (4 * max(size), 4 * max(size)))
        image.load()
    except UnusableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImage(f"has more than {LARGEST:,} pixels", "make {} smaller") from error
    # Pillow's decoders raise SyntaxError, struct.error and others for damaged files.
    except Exception as error:
        # Pillow's own message for this names only the address of a buffer.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image" if unknown else reason_of(error)
        raise UnusableImage("cannot be decoded", "replace or delete {}", reason) from error
    if huge:
        image = _reduced(image, 4 * max(size))
    with suppress(Exception):  # an image with damaged EXIF data is still an image
        image = ImageOps.exif_transpose(image)
    return image


def _reduced(image: "Image", side: int) -> "Image":
    """An image whose sides are reduced by a whole number, but not below a length."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(max(1, min(image.size) // side))


def _grey(image: "Image") -> "Image":
    """The first of three equal channels of a coloured image."""
    mode = image.mode
    red, green, blue = image.convert("RGB").split()
    if not red.tobytes() == green.tobytes() == blue.tobytes():
        raise UnusableImage(
            f"expected a grey image, got {mode} with colours", "set channels: 3 or convert {}"
        )
    return red
