"""Files that appear whole or not at all, and are read only if they are what was written."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guided.errors import InputError, reason_of
from guided.readers.arrays import read_npz
from guided.readers.regular import check_regular
from guided.storage.checksums import (
    KEY,
    DamageError,
    check_archive,
    differs,
    seal_archive,
    weights_checksum,
    with_checksum,
    without_checksum,
)
from guided.storage.temporary import sync_folder, temporary_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

DPI = 110


@contextmanager
def atomic_write(path: Path | str, *, synced: bool = True) -> Iterator[BinaryIO]:
    """Write ``path`` through a temporary file in the same folder, fsync, then rename.

    A crash at any moment leaves the previous file, or the new one, never a part of it; once the
    block is left, the new one is on the disk.

    Args:
        path: the file.
        synced: false: do not wait for the disk. When power fails, the file may be lost.

    Raises:
        InputError: the folder cannot be created or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as (handle, temporary):
            yield handle
            handle.flush()
            if synced:
                os.fsync(handle.fileno())
            if os.name != "posix":  # Windows renames no open file; elsewhere it stays locked
                handle.close()
            temporary.replace(path)
            if synced:
                sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_bytes(path: Path | str, content: bytes) -> None:
    """:func:`atomic_write` of content that is already in memory."""
    with atomic_write(path) as handle:
        handle.write(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, indented, atomically; NaN is refused because JSON has none.

    A mapping states its checksum as ``checksum``.
    """
    text = json.dumps(with_checksum(value), indent=1, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path | str) -> Any:
    """The value that :func:`write_json` wrote, or what is in a JSON file from elsewhere.

    Raises:
        DamageError: it is no JSON, or its checksum is another one's.
        InputError: the file is missing or cannot be read.
    """
    try:
        check_regular(path)
        value = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path}: damaged, or no JSON ({reason_of(error)})") from error
    return without_checksum(path, value)


def write_picture(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Write a picture by a function of its handle, atomically.

    It does not wait for the disk, which would take longer than the drawing: a cell whose picture
    is lost has other checksums than it states, and is computed again.
    """
    with atomic_write(path, synced=False) as handle:
        write(handle)


def write_archive(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Write a zip archive by ``torch.save`` or ``numpy.savez``, atomically, with its checksum."""
    with atomic_write(path) as handle:
        write(handle)
        seal_archive(handle)


def write_arrays(path: Path | str, arrays: Mapping[str, Any]) -> None:
    """Write a compressed ``.npz`` of named numpy arrays, atomically, with its checksum."""
    import numpy as np

    write_archive(path, lambda handle: np.savez_compressed(handle, allow_pickle=False, **arrays))


def read_arrays(path: Path | str) -> "dict[str, NDArray[Any]]":
    """The arrays that :func:`write_arrays` wrote, or those of an ``.npz`` from elsewhere.

    Raises:
        DamageError: it is no archive of arrays, or its checksum is another one's.
        InputError: the file is missing or cannot be read.
    """
    path = Path(path)
    try:
        check_archive(path)
        return read_npz(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # zipfile and numpy raise many
        raise DamageError(
            f"{path}: damaged, or no archive of arrays ({reason_of(error)})"
        ) from error


def write_weights(path: Path | str, weights: "Mapping[str, Tensor]", texts: dict[str, str]) -> None:
    """Write tensors as safetensors, atomically, with texts and the checksum as metadata."""
    from safetensors.torch import save

    here = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, save(here, {**texts, KEY: weights_checksum(here, texts)}))


def read_weights(path: Path | str) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """The tensors and texts of a safetensors file.

    Raises:
        DamageError: its checksum is another one's, or a weight is NaN or infinite.
        SafetensorError: it is no such file.
        OSError: it is missing, or cannot be read.
    """
    from safetensors import safe_open

    check_regular(path)
    with Path(path).open("rb"):  # says why it cannot be
        pass
    with safe_open(str(path), framework="pt") as file:
        texts = file.metadata() or {}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    stated = texts.pop(KEY, None)
    if stated and weights_checksum(weights, texts) != stated:
        raise differs(path)
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DamageError(f"{path}: {ascii(key)[1:-1]}: has weights that are NaN or infinite")
    return weights, texts


def write_figure(path: Path | str, figure: "Figure", dpi: int = DPI) -> None:
    """Write a matplotlib figure as PNG, atomically."""
    write_picture(path, lambda handle: _save(figure, handle, dpi))


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
