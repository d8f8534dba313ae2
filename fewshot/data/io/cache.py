"""Decoded banks on disk, memory-mapped: decoded once, opened in milliseconds, shared by processes.

The folder is ``FEWSHOT_CACHE``, else ``$XDG_CACHE_HOME/guided-fewshot``, else
``~/.cache/guided-fewshot``.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.errors import InputError
from guided.files import fingerprint

FORMAT = 1  # part of every key: raise it when what the files mean changes
IN_MEMORY = 2**29  # bytes of pixels that are decoded into memory


def cache_folder() -> Path:
    """Where decoded banks are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FEWSHOT_CACHE") or Path(base) / "guided-fewshot")


def identity(files: Sequence[Path]) -> list[list[str | int]]:
    """What tells one state of source files from another: path, size, modification time."""
    stats = [(path.resolve(), path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def cached_bank(name: str, settings: Any, build: Callable[[], ImageBank]) -> ImageBank:
    """The bank that ``build`` makes, from the cache if it was made before.

    Args:
        name: the dataset's name, a readable prefix of the folder.
        settings: JSON-able; everything that the bank depends on, source files' identity included.
        build: decodes the bank.
    """
    folder = cache_folder() / f"{name}-{fingerprint([FORMAT, settings])}"
    if not (folder / "bank.json").exists():
        _store(folder, build())
    return _open(folder)


def pixel_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array for decoded pixels: in memory, or, when large, in a temporary file.

    The file is in the cache's folder and vanishes with the array; the system keeps as much of it
    in memory as there is room for.

    Raises:
        InputError: the folder cannot be written to, or is full.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with _writing(cache_folder()) as folder, tempfile.TemporaryFile(dir=folder) as file:
        # Reserved: writing to a mapped file on a full disk would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.uint8, "w+", shape=shape)


@contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """Make the cache's folder; what fails in the block is its fault."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); set FEWSHOT_CACHE"
        ) from error


def _store(folder: Path, bank: ImageBank) -> None:
    with _writing(folder.parent):
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for key, column in _columns(bank).items():
            np.save(partial / f"{key}.npy", column.numpy())
        description = {
            "class_names": bank.class_names,
            "attributes": list(bank.attributes),
            "factors": list(bank.factors),
        }
        (partial / "bank.json").write_text(json.dumps(description))
        # Another process may have stored the same bank meanwhile: theirs is as good.
        with suppress(OSError):
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _columns(bank: ImageBank) -> dict[str, Tensor]:
    return {
        "images": bank.images,
        "labels": bank.labels,
        **{f"attribute-{name}": column for name, column in bank.attributes.items()},
        **{f"factor-{name}": column for name, column in bank.factors.items()},
    }


def _open(folder: Path) -> ImageBank:
    description = json.loads((folder / "bank.json").read_text())

    def column(key: str) -> Tensor:
        # "c": copy on write. Read-only maps make torch warn; nobody writes, so pages stay shared.
        return torch.from_numpy(np.load(folder / f"{key}.npy", mmap_mode="c"))

    return ImageBank(
        column("images"),
        column("labels"),
        tuple(description["class_names"]),
        {name: column(f"attribute-{name}") for name in description["attributes"]},
        {name: column(f"factor-{name}") for name in description["factors"]},
    )
