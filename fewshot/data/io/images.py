"""Finding and decoding image files, in folders or in archives."""

import hashlib
import os
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.data.io.cache import identity, pixel_array
from fewshot.data.io.containers import Contents, check_usable, contents, path_parts, read_each
from fewshot.data.io.pixels import UnusableImage, large_images, pixels_of
from guided.errors import InputError, some

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"),
)
"""Of images that are not read."""
MANY = 100  # images that cannot be used, after which no more are read


class ImagesWarning(UserWarning):
    """A reason, in the images, to doubt errors that are measured on them; commands print it."""


class SkippedImagesWarning(ImagesWarning):
    """Images are in a format that is not read, and are left out."""


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        container: the folder or archive that holds it.
        name: its path in there, as the container spells it.
    """

    container: Path
    name: str

    def __str__(self) -> str:
        return f"{self.container}/{self.name}"

    @property
    def parts(self) -> list[str]:
        """The parts of ``name``: folders, then the file."""
        return path_parts(self.name)


def find_images(container: Path, remedy: str = "replace it") -> list[ImageFile]:
    """The images below a folder or in an archive, sorted by name.

    Hidden files and those of systems (``__MACOSX``, ``@eaDir``) are left out.

    Args:
        container: the folder, zip archive or tar archive.
        remedy: end of the error message: what to do.

    Raises:
        InputError: the archive cannot be opened, or a link or a pipe stands for a file.

    Warns:
        SkippedImagesWarning: there are images in formats that are not read; counts them.
    """
    found = contents(container, remedy)
    check_usable(container, found)
    return images_of(container, found)


def images_of(container: Path, found: Contents) -> list[ImageFile]:
    """The images among the files of a container, sorted by name.

    Warns:
        SkippedImagesWarning: as :func:`find_images`.
    """
    names = sorted(name for name in found.files if name.lower().endswith(SUFFIXES))
    _warn_of_skipped(container, found.files)
    return [ImageFile(container, name) for name in names]


def _warn_of_skipped(container: Path, names: Iterable[str]) -> None:
    skipped = sorted(name for name in names if name.lower().endswith(OTHER_SUFFIXES))
    if skipped:
        what = "1 image" if len(skipped) == 1 else f"{len(skipped)} images"
        warnings.warn(
            f"{container}: {what} left out, such as {skipped[0]}, whose format is not read: "
            "convert to PNG or JPEG",
            SkippedImagesWarning,
            stacklevel=3,
        )


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
        InputError: images cannot be read or decoded, have more than 8 bits per channel, or have
            colours where one channel is expected; counts them and names the first few.
    """
    from tqdm.auto import tqdm

    from guided.progress import hidden

    images = pixel_array((len(files), channels, *size))
    digests = np.empty(len(files), np.int64)
    failed: list[tuple[ImageFile, UnusableImage]] = []
    n_read = 0
    with large_images(), closing(_contents(files)) as read:
        # One thread: several take longer with small images, because of Python's lock.
        bar = tqdm(read, desc=title, total=len(files), disable=hidden(), leave=False)
        for row, content in bar:
            n_read += 1
            try:
                if isinstance(content, str):
                    raise UnusableImage("cannot be read", "replace or delete {}", content)
                pixels = pixels_of(content, size, channels)
            except UnusableImage as error:
                failed.append((files[row], error))
                if len(failed) == MANY:
                    break
            else:
                images[row] = 255 - pixels if invert else pixels
                digests[row] = digest(images[row].data)
    if failed:
        raise _together(failed, n_read)
    return torch.from_numpy(images), torch.from_numpy(digests)


def _contents(files: Sequence[ImageFile]) -> Generator[tuple[int, bytes | str]]:
    """Row and bytes of each file, or the reason why it cannot be read; container by container."""
    rows: dict[Path, dict[str, list[int]]] = {}
    for row, file in enumerate(files):
        rows.setdefault(file.container, {}).setdefault(file.name, []).append(row)
    for container, of_name in rows.items():
        for name, content in read_each(container, list(of_name)):
            yield from ((row, content) for row in of_name[name])


def _together(failed: Sequence[tuple[ImageFile, UnusableImage]], n_read: int) -> InputError:
    """One error for all images that cannot be used; the first few are named."""
    file, error = failed[0]
    if len(failed) == 1:
        return InputError(f"{file}: {error}; {error.remedy.format('it')}")
    names = some([f"{file.name} ({error.reason})" for file, error in failed])
    remedies = " or ".join(dict.fromkeys(error.remedy.format("them") for _, error in failed))
    return InputError(
        f"{file.container}: {len(failed)} of the {n_read} images read cannot be used: {names}; "
        f"{remedies}"
    )
