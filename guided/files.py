"""Atomic writing: files appear whole or not at all."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guided.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DPI = 110


@contextmanager
def atomic_write(path: Path | str) -> Iterator[BinaryIO]:
    """Write ``path`` through a temporary file in the same folder, fsync, then rename.

    A crash at any moment leaves the previous file, or the new one, never a part of it.

    Raises:
        InputError: the folder cannot be created or written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = temporary.open("wb")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """:func:`atomic_write` of content that is already in memory."""
    with atomic_write(path) as handle:
        handle.write(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, indented, atomically; NaN is refused because JSON has none."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_with(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by a function of its handle (``torch.save``, ``numpy.savez`` …), atomically."""
    with atomic_write(path) as handle:
        write(handle)


def write_arrays(path: Path | str, arrays: Mapping[str, Any]) -> None:
    """Write a compressed ``.npz`` of named numpy arrays, atomically."""
    import numpy as np

    write_with(path, lambda handle: np.savez_compressed(handle, allow_pickle=False, **arrays))


def write_figure(path: Path | str, figure: "Figure", dpi: int = DPI) -> None:
    """Write a matplotlib figure as PNG, atomically."""
    write_with(path, lambda handle: _save(figure, handle, dpi))


def drawn(figure: "Figure", dpi: int = DPI) -> bytes:
    """A matplotlib figure as PNG."""
    content = io.BytesIO()
    _save(figure, content, dpi)
    return content.getvalue()


def _save(figure: "Figure", handle: BinaryIO, dpi: int) -> None:
    # Three times as fast as the default level, and a tenth larger.
    figure.savefig(handle, dpi=dpi, format="png", pil_kwargs={"compress_level": 2})


def read_pixels(file: Path | BinaryIO) -> "NDArray[np.uint8]":
    """The pixels of a picture, ``[H, W, 3]``."""
    import numpy as np
    from PIL import Image

    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def fingerprint(value: Any, length: int = 16) -> str:
    """A short digest of a JSON-able value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode()).hexdigest()[:length]
