"""Pickles from elsewhere: numbers, text, plain containers and arrays of numbers, nothing else.

A pickle is a program that may call whatever it names. Here the few names that arrays are pickled
with stand for checked constructors of this file; no other name is looked up.
"""

import copyreg
import math
import os
import pickle
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from guided.errors import InputError

LARGE = 2**20  # bytes: longer text is an array's content
EXPECTED = "expected numbers, text, lists, tuples, dicts and arrays of numbers, nothing else"
ORDERS = ("<", ">", "=", "|")
PLAIN_DTYPE = (None, None, None, -1, -1, 0)  # no parts, no fields, no flags
NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
SCALARS = (int, str, float, bool, bytes, type(None))


def load_pickle(file: BinaryIO, name: str, *, arrays: bool = True) -> Any:
    """Load a pickle of any protocol, Python 2's included, without running what it names.

    Loading an array that Python 3 pickled with protocol 2, which stores it as text, takes 2.5
    times the array's memory.

    Args:
        file: open for reading, at the start of the pickle; without ``arrays``, seekable.
        name: the file's name, for messages.
        arrays: if False, arrays come out empty and the content of large ones is skipped.

    Returns:
        what was pickled; Python 2's strings come out as ``str``; arrays may be read-only.

    Raises:
        InputError: the pickle holds anything else, which is named, or is damaged.
    """
    # An extension code that was resolved before would bypass `find_class`.
    copyreg.clear_extension_cache()
    try:
        loaded = _Unpickler(file if arrays else _SkipsLargeText(file), encoding="latin1").load()
        return _plain(loaded, arrays, {})
    except _RefusedError as refusal:
        raise InputError(f"{name}: refused: the pickle {refusal}; {EXPECTED}") from refusal
    # Loading a damaged pickle raises any of Python's exceptions.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name}: not a complete pickle (an interrupted download or a web page?): {reason}"
        ) from error


class _RefusedError(Exception):
    """The pickle asks for something that is not allowed."""


def _refuse(what: str) -> NoReturn:
    raise _RefusedError(what)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> "_Global":
        known = GLOBALS.get((module, name))
        if known is None:
            _refuse("names " + ascii(f"{module}.{name}")[1:101].rstrip("'\""))
        return known

    def persistent_load(self, pid: object) -> NoReturn:
        _refuse("has a persistent id")


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
                _refuse("changes a numpy.dtype to one that is not of numbers")


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
                self.content = content.encode("latin1") if isinstance(content, str) else content
            case _:
                _refuse("fills an array with something other than numbers")

    def array(self) -> NDArray[Any]:
        """The array itself, in this machine's byte order; a view of the content if that has it."""
        if not isinstance(self.number, _Number) or type(self.content) not in (bytes, bytearray):
            _refuse("has an array without content")
        if type(self.shape) is not tuple or not all(type(n) is int and n >= 0 for n in self.shape):
            _refuse("has an array without a shape")
        dtype = self.number.dtype
        expected = math.prod(self.shape) * dtype.itemsize
        if len(self.content) != expected:
            _refuse(f"has an array of {expected} bytes by its shape but {len(self.content)} bytes")
        array = np.ndarray(self.shape, dtype, self.content, order="F" if self.fortran else "C")
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
                _refuse(f"has an array of numpy.dtype({kind[:40]!a})")
            case _Global.ENCODE, (bytes() | str() as text, "latin1" | "latin-1"):
                return text.encode("latin1") if isinstance(text, str) else text
        _refuse(f"calls {self.value} with arguments that make no array of numbers")

    def __setstate__(self, state: Any) -> NoReturn:
        _refuse(f"sets attributes of {self.value}")


GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy", "ndarray"): _Global.NDARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    ("_codecs", "encode"): _Global.ENCODE,
}


def _plain(value: Any, arrays: bool, done: dict[int, Any]) -> Any:
    """A copy of what was loaded, with arrays for their stand-ins.

    Args:
        value: what was loaded.
        arrays: if False, every array is empty.
        done: id -> copy of what was copied before.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if id(value) in done:
        return done[id(value)]
    made: Any
    if kind is dict:
        for key in value:
            if type(key) not in SCALARS:
                _refuse(f"has a dict with a key of type {type(key).__name__}")
        made = {key: _plain(item, arrays, done) for key, item in value.items()}
    elif kind is list or kind is tuple:
        made = kind([_plain(item, arrays, done) for item in value])
    elif kind is _Array:
        made = value.array() if arrays else np.empty(0)
    else:
        _refuse(f"holds {value.value if kind is _Global else kind.__name__}")
    done[id(value)] = made
    return made


class _SkipsLargeText:
    """A file for unpickling in which text and bytes of over 1 MiB seem to be empty.

    The unpickler reads an instruction's byte, then the length of the text that follows, then the
    text: a length is what it asks for directly after one of ``WIDTHS``. (Protocols that read
    frames of many instructions at once keep large text out of them.)
    """

    WIDTHS: ClassVar[dict[bytes, int]] = {
        b"X": 4,
        b"T": 4,
        b"B": 4,
        b"\x8d": 8,
        b"\x8e": 8,
        b"\x96": 8,
    }

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._previous = b""
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        width, self._previous = self.WIDTHS.get(self._previous), content
        if width == size:
            length = int.from_bytes(content, "little")
            if length > LARGE:
                self._file.seek(length, os.SEEK_CUR)
                return bytes(size)
        return content
