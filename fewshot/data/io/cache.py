"""The cache of decoded banks: memory-mapped files, opened in milliseconds, shared by processes.

The folder is ``FEWSHOT_CACHE``, else ``$XDG_CACHE_HOME/guided-fewshot``, else
``~/.cache/guided-fewshot``.
"""

import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.errors import InputError
from guided.progress import say
from guided.storage.checksums import differs, file_checksum
from guided.storage.files import fingerprint, read_json, write_json
from guided.storage.temporary import sweep, sync_folder, temporary_folder

FORMAT = 1  # part of every key: raise it when the meaning of the files changes
IN_MEMORY = 2**29  # bytes: larger banks are decoded into a temporary file
DAMAGES = (OSError, ValueError, LookupError, TypeError)
"""Raised by reading what is not there, or is not what was written."""


def cache_folder() -> Path:
    """The folder of decoded banks.

    Raises:
        InputError: it is in the home folder, and this user has none.
    """
    given, base = os.environ.get("FEWSHOT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(given or Path(base or "~/.cache", "guided-fewshot"))
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{folder}: the cache's folder, but no home folder is known; set FEWSHOT_CACHE"
        ) from error


def identity(files: Sequence[Path]) -> list[list[str | int]]:
    """Path, size and modification time of files, by which the cache notices a change."""
    stats = [(path.resolve(), path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def cached_bank(name: str, settings: Any, build: Callable[[], ImageBank]) -> ImageBank:
    """The bank that ``build`` returns, read from the cache if it was built before.

    The files in the cache are compared with their checksums, once a command: its worker processes,
    which open the same files a moment later, leave that out. A damaged bank is built again.

    Args:
        name: a readable prefix of the folder: the dataset's name.
        settings: a JSON-able value with everything that the bank depends on, including the
            identity of its source files.
        build: decodes the bank.

    Raises:
        InputError: the cache's folder cannot be written to, or ``build`` raises it.
    """
    folder = cache_folder() / f"{name}-{fingerprint([FORMAT, settings])}"
    sweep(folder.parent, below=False)
    try:
        if folder.exists():
            return _open(folder)
    except PermissionError as error:
        raise InputError(
            f"{error.filename}: the cache cannot be read ({error.strerror}); "
            "set FEWSHOT_CACHE to another folder"
        ) from error
    except DAMAGES as error:
        say(f"{' '.join(str(error).split())}; its images are decoded again")
    _store(folder, build())
    return _open(folder)


def pixel_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An uninitialised uint8 array for decoded pixels; if large, mapped to a temporary file.

    The file is in the cache's folder and is deleted with the array; the system keeps as much of
    it in memory as there is room for.

    Raises:
        InputError: the folder cannot be written to or is full.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with _writing(cache_folder()) as folder, tempfile.TemporaryFile(dir=folder) as file:
        # Reserve the space: writing to a mapped file on a full disk would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.uint8, "w+", shape=shape)


@contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """Create the cache's folder, and blame it for any ``OSError`` in the block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise InputError(
            f"{folder}: the cache cannot be written ({error.strerror}); "
            "set FEWSHOT_CACHE to another folder"
        ) from error


def _store(folder: Path, bank: ImageBank) -> None:
    with _writing(folder.parent), temporary_folder(folder) as partial:
        checksums = {}
        for key, column in _columns(bank).items():
            path = partial / f"{key}.npy"
            with path.open("wb") as file:
                _save(file, column.numpy())
                file.flush()
                os.fsync(file.fileno())
            checksums[path.name] = file_checksum(path)
        description = {
            "class_names": bank.class_names,
            "attributes": list(bank.attributes),
            "factors": list(bank.factors),
            "files": checksums,
        }
        write_json(partial / "bank.json", description)
        # Another process may have stored the same bank meanwhile; either copy will do.
        with suppress(*DAMAGES):
            _open(folder)
            return
        with temporary_folder(folder) as damaged:
            if folder.exists():
                folder.rename(damaged / folder.name)
            with suppress(OSError):
                partial.rename(folder)
        sync_folder(folder.parent)


def _save(file: BinaryIO, array: NDArray[Any]) -> None:
    """As ``numpy.save``, which says nothing when the disk is full at its last bytes."""
    header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array))
    np.lib.format.write_array_header_1_0(file, header)
    file.write(np.ascontiguousarray(array).data)


def _columns(bank: ImageBank) -> dict[str, Tensor]:
    return {
        "images": bank.images,
        "labels": bank.labels,
        **{f"attribute-{name}": column for name, column in bank.attributes.items()},
        **{f"factor-{name}": column for name, column in bank.factors.items()},
    }


def _open(folder: Path) -> ImageBank:
    description = read_json(folder / "bank.json")
    if multiprocessing.parent_process() is None:
        for name, stated in description.get("files", {}).items():
            if file_checksum(folder / name) != stated:
                raise differs(folder / name)

    def column(key: str) -> Tensor:
        # Copy on write ("c"): torch warns of read-only maps. Nothing writes, so pages stay shared.
        return torch.from_numpy(np.load(folder / f"{key}.npy", mmap_mode="c"))

    return ImageBank(
        column("images"),
        column("labels"),
        tuple(description["class_names"]),
        {name: column(f"attribute-{name}") for name in description["attributes"]},
        {name: column(f"factor-{name}") for name in description["factors"]},
    )
