"""Pickles that others made: arrays, numbers, text and plain containers, and nothing else.

A pickle is a program that may call whatever it names. Here the few names that arrays are pickled
with stand for functions of this file, which check what they are given; no other name is looked up.
"""

import codecs
import io
import math
import os
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np

from guided.errors import InputError

LARGE = 2**20  # bytes: what is longer is an array's content, and is read in parts of this length
EXPECTED = "expected numbers, arrays of numbers, text and plain containers, nothing else"
ORDERS = ("<", ">", "=", "|")
PLAIN_DTYPE = [None, None, None, -1, -1, 0]  # no parts, no fields, nothing else
NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")

# What makes numbers, text, bytes, tuples, lists, dicts and sets, or moves them around.
PLAIN = (
    "PROTO STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE SHORT_BINBYTES "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS "
    "EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL"
)


def load_pickle(file: BinaryIO, name: str, *, arrays: bool = True) -> Any:
    """Load a pickle of any protocol, Python 2's included, without running what it names.

    An array that Python 3 pickled with protocol 2 is text, some 1.4 times as long, which
    ``pickle`` would hold together with two copies of the array. Here it is read in parts.

    Args:
        file: open for reading, at the pickle's start; it can seek.
        name: the file's, for messages.
        arrays: False: arrays come out empty, and the content of large ones is not read.

    Returns:
        What was pickled. Python 2's text comes out as ``str``, any of over 1 MiB as ``bytes``.

    Raises:
        InputError: it holds something else, which is named, or is damaged.
    """
    try:
        return _Unpickler(file, name, arrays).load()
    except InputError:
        raise
    # A damaged pickle leads to any of Python's exceptions.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name}: expected a whole pickle, this is none "
            f"(an interrupted download, a web page?): {reason}"
        ) from error


class _Global(Enum):
    """The names that a pickle may have, standing in for what they name."""

    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    FROMBUFFER = "numpy.core.numeric._frombuffer"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    ENCODE = "_codecs.encode"


_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Global.FROMBUFFER,
    ("numpy", "ndarray"): _Global.NDARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    ("_codecs", "encode"): _Global.ENCODE,
}


@dataclass
class _Number:
    """A type of numbers; the order of their bytes comes in a second step."""

    kind: str
    order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.kind if self.order == "|" else self.order + self.kind)


# Python's unpickler as written in Python: the one in C does any opcode, and reads text whole.
class _Unpickler(pickle._Unpickler):
    # What the standard library's class has and its type stubs leave out.
    stack: list[Any]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]]

    def __init__(self, file: BinaryIO, name: str, arrays: bool) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file
        self._name = name
        self._arrays = arrays

    def refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self._name}: refused, because it {what}; {EXPECTED}")

    def find_class(self, module: str, name: str) -> _Global:
        known = _GLOBALS.get((module, name))
        if known is None:
            self.refuse(f"names {_printable(f'{module}.{name}')}")
        return known

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("latin1") for _ in range(2))
        self.refuse(f"makes an instance of {_printable(f'{module}.{name}')}")

    def load_frame(self) -> None:
        self.read(8)  # how much to read ahead

    def load_large(self, width: int, decode: Callable[[bytes], str] | None) -> None:
        """Bytes or text after its length, a number of ``width`` bytes."""
        length = int.from_bytes(self.read(width), "little")
        if length <= LARGE:
            content = self._exactly(length)
            self.stack.append(decode(content) if decode else content)
        elif not self._arrays:
            self._file.seek(length, os.SEEK_CUR)
            self.stack.append(b"")
        else:
            self.stack.append(self._shrunk(length) if decode is _utf8 else self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        content = self.read(length)
        if len(content) < length:
            raise EOFError("it ends early")
        return content

    def _shrunk(self, length: int) -> bytes:
        """Bytes that were pickled as text, which is ``length`` bytes long in UTF-8."""
        decoder, content = codecs.getincrementaldecoder("utf-8")(), io.BytesIO()
        for start in range(0, length, LARGE):
            part = decoder.decode(self._exactly(min(LARGE, length - start)))
            content.write(part.encode("latin1"))
        return content.getvalue()  # no copy

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        called = self.stack[-1]
        if not isinstance(called, _Global):
            self.refuse(f"calls what is no function, {type(called).__name__}")
        made: Any
        match called, arguments:
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), b"b" | "b"):
                made = np.empty(0, np.int8)
            case _Global.FROMBUFFER, (content, _Number() as number, shape, "C" | "F" as order):
                made = np.frombuffer(self._checked(content, number, shape), number.dtype())
                made = made.reshape(shape, order=order) if self._arrays else made
            case _Global.DTYPE, (str(kind), 0 | 1, 0 | 1) if kind in NUMBERS:
                made = _Number(kind)
            case _Global.DTYPE, (str(kind), *_):
                self.refuse(f"has an array of numpy.dtype({kind[:40]!a})")
            case _Global.ENCODE, (bytes() | str() as text, "latin1" | "latin-1"):
                made = text.encode("latin1") if isinstance(text, str) else text
            case _:
                self.refuse(f"calls {called.value} in a way that makes no array of numbers")
        self.stack[-1] = made

    def load_build(self) -> None:
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Number() as number, (3, order, *rest) if order in ORDERS and rest == PLAIN_DTYPE:
                number.order = order
            case np.ndarray() as array, (1, shape, _Number() as number, 0 | 1 as fortran, content):
                content = self._checked(content, number, shape)
                if self._arrays:
                    array.__setstate__((1, shape, number.dtype(), fortran, content))
            case built, _:
                self.refuse(f"fills {type(built).__name__} with what is no array's state")

    def _checked(self, content: Any, number: _Number, shape: Any) -> bytes:
        """An array's content, of the length that its shape says."""
        if not self._arrays:
            return b""
        if isinstance(content, str):
            content = content.encode("latin1")
        fits = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not (isinstance(content, bytes) and fits):
            self.refuse("has an array without content or shape")
        expected = math.prod(shape) * number.dtype().itemsize
        if len(content) != expected:
            self.refuse(f"has an array of {expected} bytes by its shape, {len(content)} in fact")
        return content


def _printable(name: str) -> str:
    return ascii(name)[1:101].rstrip("'\"")


def _utf8(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _python2(content: bytes) -> str:
    return content.decode("latin1")


def _refusal(opcode: str) -> Callable[[_Unpickler], None]:
    return lambda unpickler: unpickler.refuse(f"has the opcode {opcode}")


_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_Unpickler.dispatch = {
    **{code: _refusal(name) for name, code in _CODES.items()},
    **{_CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in PLAIN.split()},
    _CODES["FRAME"]: _Unpickler.load_frame,
    _CODES["INST"]: _Unpickler.load_inst,
    _CODES["REDUCE"]: _Unpickler.load_reduce,
    _CODES["BUILD"]: _Unpickler.load_build,
    _CODES["BINSTRING"]: lambda unpickler: unpickler.load_large(4, _python2),
    _CODES["BINUNICODE"]: lambda unpickler: unpickler.load_large(4, _utf8),
    _CODES["BINUNICODE8"]: lambda unpickler: unpickler.load_large(8, _utf8),
    _CODES["BINBYTES"]: lambda unpickler: unpickler.load_large(4, None),
    _CODES["BINBYTES8"]: lambda unpickler: unpickler.load_large(8, None),
    _CODES["BYTEARRAY8"]: lambda unpickler: unpickler.load_large(8, None),
}
