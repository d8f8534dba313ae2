"""Files of embeddings and labels: .npz, .npy, .pt and .parquet."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided.errors import InputError, importing, reason_of
from guided.readers.arrays import map_npy, read_npz
from guided.readers.torch_files import check_torch_file

Array = NDArray[Any]

ALONE = "features"
"""The name of an array that has none."""


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays in a file by name, each with a row for an image.

    ``.npy`` is mapped into memory, not read; nothing is unpickled but tensors and plain values.

    Raises:
        InputError: another kind of file; it cannot be read; pandas or pyarrow is missing.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise InputError(f"{path}: expected a file of embeddings or labels ({known})")
    try:
        return reader(path)
    except InputError:
        raise
    except Exception as error:  # damaged files raise one of many kinds, in pandas, torch, zipfile
        reason = reason_of(error)
        if "allow_pickle" in reason or "Python objects" in reason:
            reason = "holds Python objects; write names by labels.astype(str)"
        raise InputError(f"{path}: cannot be read as {path.suffix} ({reason})") from error


def _npz(path: Path) -> dict[str, Array]:
    return read_npz(path)


def _npy(path: Path) -> dict[str, Array]:
    return {ALONE: map_npy(path)}


def _pt(path: Path) -> dict[str, Array]:
    check_torch_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, Tensor):
        found = {ALONE: found}
    elif isinstance(found, list | tuple) and len(found) == 2:
        found = dict(zip((ALONE, "labels"), found, strict=True))
    if not isinstance(found, Mapping):
        raise InputError(
            f"{path}: expected a tensor, (features, labels), or a dictionary of these, "
            f"found {type(found).__name__}"
        )
    return {str(name): _array(value) for name, value in found.items()}


def _array(value: Any) -> Array:
    if isinstance(value, Tensor):
        return (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def _parquet(path: Path) -> dict[str, Array]:
    with importing("parquet", str(path)):
        import pyarrow  # noqa: F401, I001 - pandas reads through it
        import pandas
    frame = pandas.read_parquet(path)
    arrays: dict[str, Array] = {}
    for name in frame.columns:
        column = frame[name].to_numpy()
        lists = column.dtype == object and len(column) and not isinstance(column[0], str)
        arrays[str(name)] = np.stack(column) if lists else column
    return arrays


def _lines(path: Path) -> dict[str, Array]:
    return {"labels": np.array(path.read_text(encoding="utf-8").splitlines())}


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".pt": _pt,
    ".pth": _pt,
    ".parquet": _parquet,
    ".txt": _lines,
}
