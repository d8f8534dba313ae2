"""Finding and decoding image files, in folders or in zip archives."""

import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.io.cache import identity, pixel_array
from guided.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"),
)
"""Of images that are not read."""
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class SkippedImagesWarning(UserWarning):
    """Images are in a format that is not read, and are left out."""


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        container: the folder or zip archive that holds it.
        name: its path in there, with ``/``.
    """

    container: Path
    name: str

    def __str__(self) -> str:
        return f"{self.container}/{self.name}"

    @property
    def parts(self) -> list[str]:
        """The parts of ``name``: folders, then the file."""
        return self.name.split("/")


def open_archive(path: Path, remedy: str) -> zipfile.ZipFile:
    """Open a zip archive for reading.

    Args:
        path: the archive.
        remedy: end of the error message: what to do.

    Raises:
        InputError: the archive is missing, truncated or not a zip archive.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise InputError(
            f"{path}: not a complete zip archive (an interrupted download or a web page?): "
            f"{error}; {remedy}"
        ) from error


def find_images(container: Path, remedy: str = "replace it") -> list[ImageFile]:
    """The images below a folder or in a zip archive, sorted by name.

    Hidden files and macOS's ``__MACOSX`` are left out.

    Args:
        container: the folder or archive.
        remedy: end of the error message: what to do.

    Raises:
        InputError: the archive cannot be opened.

    Warns:
        SkippedImagesWarning: there are images in formats that are not read; counts them.
    """
    if container.is_dir():
        names = list(_names_below(container))
    else:
        with open_archive(container, remedy) as archive:
            names = archive.namelist()
    skipped = sorted(name for name in names if _is_image(name, OTHER_SUFFIXES))
    if skipped:
        what = "1 image" if len(skipped) == 1 else f"{len(skipped)} images"
        warnings.warn(
            f"{container}: {what} left out, such as {skipped[0]}, whose format is not read: "
            "convert to PNG or JPEG",
            SkippedImagesWarning,
            stacklevel=2,
        )
    return [ImageFile(container, name) for name in sorted(names) if _is_image(name)]


def _names_below(folder: Path) -> Iterator[str]:
    for path, _, names in os.walk(folder, followlinks=True):
        prefix = Path(path).relative_to(folder).as_posix()
        yield from names if prefix == "." else (f"{prefix}/{name}" for name in names)


def _is_image(name: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    parts = f"/{name}"
    return name.lower().endswith(suffixes) and "/." not in parts and "/__MACOSX" not in parts


def state(files: Sequence[ImageFile]) -> list[Any]:
    """A JSON-able value that changes when an image file does, for the cache's key."""
    containers = sorted({file.container for file in files})
    archives = [container for container in containers if container.is_file()]
    loose = [file for file in files if file.container not in archives]
    # Only the paths of the containers are resolved: those of all images would take seconds.
    return [
        identity(archives),
        [str(container.resolve()) for container in containers],
        [_stat(file) for file in loose],
    ]


def _stat(file: ImageFile) -> tuple[str, int, int]:
    # Not Path.stat, because creating a Path takes longer than the call.
    stat = os.stat(str(file))  # noqa: PTH116
    return file.name, stat.st_size, stat.st_mtime_ns


def digest(content: bytes | memoryview) -> int:
    """A signed 64-bit hash of bytes."""
    hashed = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(hashed, "little", signed=True)


def fit(image: "Image", size: tuple[int, int]) -> "Image":
    """Cut out the largest centred part with the aspect ratio of (H, W), and resize it (Lanczos)."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)


def decode(
    files: Sequence[ImageFile], *, size: tuple[int, int], channels: int, invert: bool, title: str
) -> tuple[Tensor, Tensor]:
    """Decode images to one size, showing a progress bar on a terminal.

    Images are cut to the largest centred part with the target's aspect ratio, then resized with
    a Lanczos filter. The camera's orientation (EXIF) is applied, transparency is laid over white,
    and grey images are repeated over three channels.

    Args:
        files: N images, in archives that can be opened.
        size: (H, W).
        channels: 1 or 3.
        invert: replace each value by 255 minus it, so that ink on white paper is 255 on 0.
        title: of the progress bar.

    Returns:
        images: uint8 ``[N, channels, H, W]``.
        digests: int64 ``[N]``, hashes of the decoded images: the same for one in two formats.

    Raises:
        InputError: an image, which is named, cannot be decoded, has more than 8 bits per channel,
            or has colours where one channel is expected.
    """
    from tqdm.auto import tqdm

    from guided.progress import hidden

    images = pixel_array((len(files), channels, *size))
    digests = np.empty(len(files), np.int64)
    with ExitStack() as stack:
        archives = {
            path: stack.enter_context(zipfile.ZipFile(path))
            for path in {file.container for file in files}
            if path.is_file()
        }
        # One thread: several take longer with small images, because of Python's lock.
        for row, file in enumerate(tqdm(files, desc=title, disable=hidden(), leave=False)):
            content = _read(file, archives)
            pixels = _pixels(_load(file, content), file, size, channels)
            images[row] = 255 - pixels if invert else pixels
            digests[row] = digest(images[row].data)
    return torch.from_numpy(images), torch.from_numpy(digests)


def _read(file: ImageFile, archives: dict[Path, zipfile.ZipFile]) -> bytes:
    archive = archives.get(file.container)
    try:
        return archive.read(file.name) if archive else (file.container / file.name).read_bytes()
    # zipfile raises zlib's errors, EOFError and NotImplementedError for damaged entries.
    except Exception as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _load(file: ImageFile, content: bytes) -> "Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        image.load()
    # Pillow's decoders raise SyntaxError, struct.error and others for damaged files.
    except Exception as error:
        # Pillow's own message for this names only the address of a buffer.
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{file}: cannot be decoded ({reason}); replace or delete it") from error
    with suppress(Exception):  # an image with damaged EXIF data is still an image
        image = ImageOps.exif_transpose(image)
    return image


def _pixels(
    image: "Image", file: ImageFile, size: tuple[int, int], channels: int
) -> NDArray[np.uint8]:
    """uint8 ``[channels, H, W]``."""
    from PIL import Image

    if image.mode not in EIGHT_BIT:
        raise InputError(f"{file}: expected 8 bits per channel, got mode {image.mode}; convert it")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image).convert("RGB")
    if channels == 3:
        image = image.convert("RGB")
    elif image.mode not in ("1", "L"):
        image = _grey(image, file)
    else:
        image = image.convert("L")
    return np.asarray(fit(image, size)).reshape(*size, channels).transpose(2, 0, 1)


def _grey(image: "Image", file: ImageFile) -> "Image":
    """The first of three equal channels of a coloured image."""
    mode = image.mode
    red, green, blue = image.convert("RGB").split()
    if not red.tobytes() == green.tobytes() == blue.tobytes():
        raise InputError(
            f"{file}: expected a grey image, got {mode} with colours; set channels: 3 or convert it"
        )
    return red
