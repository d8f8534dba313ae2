"""Decoded banks on disk, memory-mapped: decoded once, opened in milliseconds, shared by processes.

The folder is ``FEWSHOT_CACHE``, else ``$XDG_CACHE_HOME/guided-fewshot``, else
``~/.cache/guided-fewshot``.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.errors import InputError
from guided.files import fingerprint

FORMAT = 1  # part of every key: raise it when what the files mean changes


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


def _store(folder: Path, bank: ImageBank) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror}); set FEWSHOT_CACHE"
        ) from error
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
