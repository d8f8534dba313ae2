"""Numpy's files, ``.npy`` and ``.npz``, from anyone: sizes are checked before anything is read.

Numpy allocates what a header declares, and inflates an archive's entries without a limit.
"""

import math
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 2**29  # bytes of an array, unless the file itself has
RATIO = 16  # times as many as the array takes in the archive
MOST_TOGETHER = 2**30  # bytes of all arrays of an archive, unless the file itself has more
LONGEST_HEADER = 10_000  # bytes, as numpy has it
DEEPEST = 32  # dimensions, as numpy 1 has it
CHUNK = 2**20  # bytes read at a time

_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[a-zA-Z?][0-9]{0,9})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([0-9L, ]{0,700})\)""")
_KINDS = "biufcSU"


@dataclass(frozen=True)
class ArrayHeader:
    """The beginning of an array's file."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    order: Literal["C", "F"]

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> ArrayHeader:
    """Read what stands before an array's values.

    Raises:
        ValueError: it is no array of numbers or text.
    """
    import numpy as np

    start = stream.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("no array in numpy's format")
    form = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(form, _exactly(stream, struct.calcsize(form)))
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    text = _exactly(stream, length).decode("latin1")
    found = [pattern.search(text) for pattern in (_DTYPE, _ORDER, _SHAPE)]
    kind, order, shape = (match[1] if match else None for match in found)
    if kind is None or order is None or shape is None:
        raise ValueError(f"expected an array of numbers or text, its header says {text[:80]!r}")
    dtype = np.dtype(kind)
    if dtype.kind == "O":
        raise ValueError("it holds Python objects")
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"expected an array of numbers or text, its values are {kind}")
    sides = tuple(int(side.strip().removesuffix("L")) for side in shape.split(",") if side.strip())
    if len(sides) > DEEPEST or max(sides, default=0) >= 2**48:
        raise ValueError(f"an array of shape {sides[:4]}")
    return ArrayHeader(sides, dtype, "F" if order == "True" else "C")


def read_array(stream: IO[bytes], most: int = MOST) -> "NDArray[Any]":
    """Read an array, to the end of its file.

    Args:
        stream: at the file's beginning.
        most: bytes that it may have.

    Raises:
        ValueError: it is no array of numbers or text, is larger, or has more or fewer values than
            its header says.
    """
    import numpy as np

    header = read_header(stream)
    if header.size > most:
        raise ValueError(f"an array of {header.size:,} bytes, more than {most:,}")
    content = bytearray()
    while len(content) < header.size:
        chunk = stream.read(min(CHUNK, header.size - len(content)))
        if not chunk:
            raise ValueError(f"{len(content):,} bytes, its header says {header.size:,}")
        content += chunk
    if stream.read(1):  # the checksum of an archive's entry is compared at its end
        raise ValueError(f"more bytes than the {header.size:,} of its header")
    array: NDArray[Any] = np.ndarray(
        header.shape, header.dtype, content or bytes(1), order=header.order
    )
    if header.dtype.kind == "U":
        codes = np.frombuffer(content, header.dtype.byteorder.replace("|", "=") + "u4")
        if codes.max(initial=0) > 0x10FFFF:
            raise ValueError("text of characters that do not exist")
    return array


def read_npz(path: Path) -> "dict[str, NDArray[Any]]":
    """The arrays in an archive by name.

    Raises:
        ValueError: it holds anything else, or an array is too large.
        Exception: one of zipfile's many, for a damaged archive.
    """
    arrays = {}
    left = max(MOST_TOGETHER, RATIO * path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            # Other methods inflate without a limit.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name}: compressed by another method than numpy's")
            try:
                with archive.open(entry) as stream:
                    most = min(max(MOST, RATIO * entry.compress_size), left)
                    arrays[name] = read_array(stream, most)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            left -= arrays[name].nbytes
    return arrays


def map_npy(path: Path) -> "NDArray[Any]":
    """The array in a file, mapped into memory; writing to it does not change the file.

    Raises:
        ValueError: it is no array of numbers or text, or has another size than its header says.
    """
    import numpy as np

    with path.open("rb") as file:
        header, start = read_header(file), file.tell()
    found = path.stat().st_size - start
    if found != header.size:
        raise ValueError(f"{found:,} bytes of values, its header says {header.size:,}")
    if not header.size:
        return np.empty(header.shape, header.dtype, header.order)
    return np.memmap(path, header.dtype, "c", start, header.shape, header.order)


def _exactly(stream: IO[bytes], n: int) -> bytes:
    content = stream.read(n)
    if len(content) < n:
        raise ValueError("it ends within its header")
    return content
