"""Pickles from elsewhere: numbers, text, plain containers and arrays of numbers, nothing else.

The few names that arrays are pickled with stand for checked constructors of this file; no other
name is looked up. See :mod:`guided.readers.pickled` for the limits of the rest.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError, reason_of
from guided.readers.pickled import PickleReader, RefusedPickleError, refuse

EXPECTED = "expected numbers, text, lists, tuples, dicts and arrays of numbers, nothing else"
DEEPEST = 100  # containers inside each other
ORDERS = ("<", ">", "=", "|")
PLAIN_DTYPE = (None, None, None, -1, -1, 0)  # no parts, no fields, no flags
NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
SCALARS = (int, str, float, bool, bytes, type(None))


def load_pickle(file: BinaryIO, name: str, *, arrays: bool = True) -> Any:
    """Load a pickle of any protocol, Python 2's included, without running what it names.

    Loading an array that Python 3 pickled with protocol 2, which stores it as text, takes 2.5
    times the array's memory.

    Args:
        file: open for reading, at the start of the pickle, seekable.
        name: the file's name, for messages.
        arrays: if False, arrays come out empty and the content of large ones is skipped.

    Returns:
        what was pickled; Python 2's strings come out as ``str``; arrays may be read-only.

    Raises:
        InputError: the pickle holds anything else, which is named, or is damaged.
    """
    try:
        reader = _Reader(file, contents=arrays)
        return _Copier(arrays, reader.size).plain(reader.load())
    except RefusedPickleError as refusal:
        raise InputError(f"{name}: refused: the pickle {refusal}; {EXPECTED}") from refusal
    # Loading a damaged pickle raises any of Python's exceptions.
    except Exception as error:
        reason = reason_of(error)
        raise InputError(
            f"{name}: not a complete pickle (an interrupted download or a web page?): {reason}"
        ) from error


class _Reader(PickleReader):
    def find(self, module: str, name: str) -> "_Global":
        return GLOBALS.get((module, name)) or super().find(module, name)


class _Number:
    """Stands for the dtype of a number. Its byte order is set by a second instruction."""

    __slots__ = ("dtype",)

    def __init__(self, kind: str) -> None:
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: Any) -> None:
        match state:
            case (3, str(order), *rest) if order in ORDERS and tuple(rest) == PLAIN_DTYPE:
                self.dtype = np.dtype(order.replace("|", "=") + self.dtype.str[1:])
            case _:
                refuse("changes a numpy.dtype to one that is not of numbers")


@dataclass(slots=True, eq=False)
class _Array:
    """Stands for an array. Its content is set by the call that makes it, or later."""

    shape: Any = (0,)
    number: Any = None
    fortran: Any = False
    content: Any = b""

    def __setstate__(self, state: Any) -> None:
        match state:
            case (1, shape, _Number() as number, fortran, content):
                self.shape, self.number, self.fortran = shape, number, fortran
                self.content = content
            case _:
                refuse("fills an array with something other than numbers")

    def array(self) -> NDArray[Any]:
        """The array itself, in this machine's byte order; a view of the content if that has it."""
        content = self.content
        content = content.encode("latin1") if type(content) is str else content
        if not isinstance(self.number, _Number) or type(content) not in (bytes, bytearray):
            refuse("has an array without content")
        if type(self.shape) is not tuple or not all(type(n) is int and n >= 0 for n in self.shape):
            refuse("has an array without a shape")
        dtype = self.number.dtype
        expected = math.prod(self.shape) * dtype.itemsize
        if len(content) != expected:
            refuse(f"has an array of {expected} bytes by its shape but {len(content)} bytes")
        array = np.ndarray(self.shape, dtype, content, order="F" if self.fortran else "C")
        return array.astype(dtype.newbyteorder("="), copy=False)


class _Global(Enum):
    """The names that a pickle may hold. Calling one returns a stand-in, never the named thing."""

    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    FROMBUFFER = "numpy.core.numeric._frombuffer"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    ENCODE = "_codecs.encode"

    def __call__(self, *arguments: Any) -> Any:
        match self, arguments:
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), b"b" | "b"):
                return _Array()
            case _Global.FROMBUFFER, (content, _Number() as number, shape, "C" | "F" as order):
                return _Array(shape, number, order == "F", content)
            case _Global.DTYPE, (str(kind), 0 | 1, 0 | 1) if kind in NUMBERS:
                return _Number(kind)
            case _Global.DTYPE, (str(kind), *_):
                refuse(f"has an array of numpy.dtype({kind[:40]!a})")
            case _Global.ENCODE, (bytes() | str() as text, "latin1" | "latin-1"):
                return text.encode("latin1") if isinstance(text, str) else text
        refuse(f"calls {self.value} with arguments that make no array of numbers")

    def __setstate__(self, state: Any) -> NoReturn:
        refuse(f"sets attributes of {self.value}")


GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy", "ndarray"): _Global.NDARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    ("_codecs", "encode"): _Global.ENCODE,
}


class _Copier:
    """Copies what was loaded, with arrays for their stand-ins.

    Args:
        arrays: if False, every array is empty.
        most: bytes of all arrays together.
    """

    def __init__(self, arrays: bool, most: int) -> None:
        self.arrays, self.left = arrays, most
        self.done: dict[int, Any] = {}
        self.depth = 0

    def plain(self, value: Any) -> Any:
        """A copy; what is there twice is copied once."""
        kind = type(value)
        if kind in SCALARS:
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        self.depth += 1
        if self.depth > DEEPEST:
            refuse(f"is nested more than {DEEPEST} deep")
        made: Any
        if kind is dict:
            made = {key: self.plain(item) for key, item in value.items()}
        elif kind is list or kind is tuple:
            made = kind([self.plain(item) for item in value])
        elif kind is _Array:
            made = self._array(value)
        else:
            refuse(f"holds {value.value if kind is _Global else kind.__name__}")
        self.depth -= 1
        self.done[id(value)] = made
        return made

    def _array(self, stored: _Array) -> NDArray[Any]:
        if not self.arrays:
            return np.empty(0)
        # Several may have the same content, and each would be a copy of it.
        self.left -= len(stored.content) if hasattr(stored.content, "__len__") else 0
        if self.left < 0:
            refuse("has arrays of more bytes than it has itself")
        return stored.array()
