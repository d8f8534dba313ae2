"""A reader of pickles that runs nothing: the instructions of plain values, each checked first.

Python's own unpickler hashes, copies and allocates what an instruction says before anyone can
look at it: 130 bytes keep it busy for ever, 300 kB overflow the stack. Here numbers, text, lists,
tuples and dicts are made as the instructions say, within limits; a name and a call are left to a
subclass.
"""

import codecs
import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, NoReturn

MOST_INSTRUCTIONS = 2**21  # CIFAR-100's largest file has 3 * 10^5
LONGEST = 2**31  # bytes of a text; miniImageNet's largest array has 0.8 * 10^9
LARGE = 2**20  # bytes: longer text is an array's content
LINE = 2**10  # bytes of a name or number that is written as text
NUMBER = 64  # bytes of a whole number
PROTOCOL = 5  # the latest
KEYS = (str, bytes, int)
FLAT = 2**60  # whole numbers below are their own hash, so that no dict of them is slow


class RefusedPickleError(Exception):
    """The pickle asks for something that is not allowed."""


def refuse(what: str) -> NoReturn:
    """Raise :class:`RefusedPickleError`."""
    raise RefusedPickleError(what)


class PickleReader:
    """One pickle of any protocol, Python 2's included, whose strings come out as ``str``.

    Args:
        file: open for reading, at the start of the pickle, seekable.
        contents: if False, text and bytes of over 1 MiB are skipped and come out empty.
    """

    def __init__(self, file: BinaryIO, *, contents: bool = True) -> None:
        self.file = file
        self.contents = contents
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(start)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.made = 0

    def find(self, module: str, name: str) -> Any:
        """The value that stands for a name: if it can be called, calls are made to it."""
        refuse("names " + ascii(f"{module}.{name}")[1:101].rstrip("'\""))

    def refer(self, key: Any) -> Any:
        """The value that stands for an object that is stored elsewhere, under a persistent id."""
        refuse("has a persistent id")

    def load(self) -> Any:
        """The value.

        Raises:
            RefusedPickleError: it holds what is not allowed.
            Exception: one of Python's many, for a damaged pickle.
        """
        read, instructions = self.file.read, self.INSTRUCTIONS
        for _ in range(MOST_INSTRUCTIONS):
            code = read(1)
            if code == b".":
                return self.stack.pop()
            if code not in instructions:
                raise ValueError(f"unknown instruction {code!r}" if code else "it ends too early")
            instructions[code](self)
        return refuse(f"has more than {MOST_INSTRUCTIONS:,} instructions")

    # What is read

    def take(self, n: int) -> bytes:
        """The next bytes."""
        if n < 0 or (n > LINE and n > self.size - self.file.tell()):
            raise EOFError("it ends too early")
        if n > LONGEST:
            refuse(f"has a text of {n:,} bytes, more than {LONGEST:,}")
        if n > LARGE and not self.contents:
            self.file.seek(n, os.SEEK_CUR)
            return b""
        content = self.file.read(n)
        if len(content) < n:
            raise EOFError("it ends too early")
        return content

    def number(self, form: str) -> Any:
        """A number of fixed size, as :mod:`struct` writes it."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, longest: int = LINE) -> str:
        """The rest of a line; Python writes ASCII."""
        line = self.file.readline(longest)
        if not line.endswith(b"\n"):
            raise EOFError("it ends within a line")
        return line[:-1].decode("latin1")

    def whole(self, content: bytes) -> int:
        """A whole number of any size."""
        return int.from_bytes(content, "little", signed=True)

    # What is made

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Take what was put on the stack since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def extend(self, items: list[Any]) -> None:
        """Add to the list on the stack."""
        if type(self.stack[-1]) is not list:
            raise TypeError("adds items to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Add keys and values to the dict on the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in KEYS:
                refuse(f"has a dict with a key of type {type(key).__name__}")
            if type(key) is int and abs(key) >= FLAT:
                refuse("has a dict with a key of over 60 bits")
            target[key] = value

    def dictionary(self, items: list[Any]) -> None:
        """Put a new dict on the stack."""
        self.push({})
        self.set_items(items)

    def call(self, function: Any, arguments: Any) -> None:
        """Put on the stack what a stand-in returns."""
        if not callable(function) or type(arguments) is not tuple:
            refuse(f"calls what is not callable ({type(function).__name__})")
        made = function(*arguments)
        if type(made) is bytes:
            self.made += len(made)
            if self.made > self.size:
                refuse("makes more bytes than it has")
        self.push(made)

    def build(self) -> None:
        """Set the state of the object on the stack."""
        state, target = self.stack.pop(), self.stack[-1]
        # Of a value that is none of the subclass's: Python's have no such method.
        if not hasattr(target, "__setstate__"):
            refuse(f"sets attributes of {type(target).__name__}")
        target.__setstate__(state)

    def named(self) -> None:
        """Put on the stack what stands for the name that is on it."""
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is no text")
        self.push(self.find(module, name))

    def store(self, place: int) -> None:
        """Remember what is on the stack."""
        if not 0 <= place < FLAT:  # as the keys of dicts
            refuse("remembers a value under a number of over 60 bits")
        self.memo[place] = self.stack[-1]

    def pop(self) -> None:
        """Drop what is on the stack; a mark, if one was put there last."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def top(self, n: int) -> tuple[Any, ...]:
        """Take the last few values from the stack."""
        if len(self.stack) < n:
            raise IndexError("it takes more than it has")
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        return items

    def instance(self, items: list[Any]) -> None:
        """Call the first of some values with the others."""
        self.call(items[0], tuple(items[1:]))

    def check_protocol(self, version: int) -> None:
        """Refuse what Python does not know yet."""
        if version > PROTOCOL:
            raise ValueError(f"unsupported pickle protocol: {version}")

    def text_number(self, line: str) -> int | bool:
        """A number of protocol 0, in which booleans are 00 and 01."""
        return line == "01" if line in ("00", "01") else int(line)

    def long(self, n: int) -> int:
        """A whole number of n bytes."""
        if n > NUMBER and n <= self.size - self.file.tell():
            refuse(f"has a number of {n} bytes")
        return self.whole(self.take(n))

    def utf8(self, n: int) -> str:
        """Text of n bytes."""
        return self.take(n).decode("utf-8", "surrogatepass")

    INSTRUCTIONS: ClassVar[dict[bytes, Callable[["PickleReader"], Any]]]


def _no(what: str) -> Callable[[PickleReader], None]:
    return lambda _: refuse(what)


def _string(r: PickleReader) -> str:
    """Python 2's protocol 0: the text as it would stand in a program."""
    line = r.line(LONGEST)
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise ValueError("a string without quotation marks")
    content: bytes = codecs.escape_decode(line[1:-1].encode("latin1"))[0]
    return content.decode("latin1")


def _unicode(r: PickleReader) -> str:
    return r.line(LONGEST).encode("latin1").decode("raw-unicode-escape")


PickleReader.INSTRUCTIONS = {
    b"\x80": lambda r: r.check_protocol(r.number("B")),
    b"\x95": lambda r: r.number("<Q"),  # a frame: how much to read at once
    b"(": lambda r: r.marks.append(len(r.stack)),
    b"0": lambda r: r.pop(),
    b"1": lambda r: r.since_mark(),
    b"2": lambda r: r.push(r.stack[-1]),
    # Numbers
    b"N": lambda r: r.push(None),
    b"\x88": lambda r: r.push(True),
    b"\x89": lambda r: r.push(False),
    b"I": lambda r: r.push(r.text_number(r.line())),
    b"L": lambda r: r.push(int(r.line().removesuffix("L"))),
    b"F": lambda r: r.push(float(r.line())),
    b"J": lambda r: r.push(r.number("<i")),
    b"K": lambda r: r.push(r.number("B")),
    b"M": lambda r: r.push(r.number("<H")),
    b"G": lambda r: r.push(r.number(">d")),
    b"\x8a": lambda r: r.push(r.long(r.number("B"))),
    b"\x8b": lambda r: r.push(r.long(r.number("<i"))),
    # Text; Python 2's is of bytes
    b"S": lambda r: r.push(_string(r)),
    b"T": lambda r: r.push(r.take(r.number("<i")).decode("latin1")),
    b"U": lambda r: r.push(r.take(r.number("B")).decode("latin1")),
    b"V": lambda r: r.push(_unicode(r)),
    b"X": lambda r: r.push(r.utf8(r.number("<I"))),
    b"\x8c": lambda r: r.push(r.utf8(r.number("B"))),
    b"\x8d": lambda r: r.push(r.utf8(r.number("<Q"))),
    b"B": lambda r: r.push(r.take(r.number("<I"))),
    b"C": lambda r: r.push(r.take(r.number("B"))),
    b"\x8e": lambda r: r.push(r.take(r.number("<Q"))),
    b"\x96": lambda r: r.push(bytearray(r.take(r.number("<Q")))),
    # Containers
    b")": lambda r: r.push(()),
    b"t": lambda r: r.push(tuple(r.since_mark())),
    b"\x85": lambda r: r.push(r.top(1)),
    b"\x86": lambda r: r.push(r.top(2)),
    b"\x87": lambda r: r.push(r.top(3)),
    b"]": lambda r: r.push([]),
    b"l": lambda r: r.push(r.since_mark()),
    b"a": lambda r: r.extend([r.stack.pop()]),
    b"e": lambda r: r.extend(r.since_mark()),
    b"}": lambda r: r.push({}),
    b"d": lambda r: r.dictionary(r.since_mark()),
    b"s": lambda r: r.set_items(list(r.top(2))),
    b"u": lambda r: r.set_items(r.since_mark()),
    # What was made before
    b"p": lambda r: r.store(int(r.line())),
    b"q": lambda r: r.store(r.number("B")),
    b"r": lambda r: r.store(r.number("<I")),
    b"\x94": lambda r: r.store(len(r.memo)),
    b"g": lambda r: r.push(r.memo[int(r.line())]),
    b"h": lambda r: r.push(r.memo[r.number("B")]),
    b"j": lambda r: r.push(r.memo[r.number("<I")]),
    # Names and calls
    b"c": lambda r: r.push(r.find(r.line(), r.line())),
    b"\x93": lambda r: r.named(),
    b"R": lambda r: r.call(*r.top(2)),
    b"i": lambda r: r.call(r.find(r.line(), r.line()), tuple(r.since_mark())),
    b"o": lambda r: r.instance(r.since_mark()),
    b"b": lambda r: r.build(),
    b"P": lambda r: r.push(r.refer(r.line())),
    b"Q": lambda r: r.push(r.refer(r.stack.pop())),
    # What no array, number or text is written with
    b"\x81": _no("makes an object of a class"),
    b"\x92": _no("makes an object of a class"),
    b"\x82": _no("names an extension"),
    b"\x83": _no("names an extension"),
    b"\x84": _no("names an extension"),
    b"\x8f": _no("holds set"),
    b"\x90": _no("adds to a set"),
    b"\x91": _no("holds frozenset"),
    b"\x97": _no("has a buffer elsewhere"),
    b"\x98": _no("holds memoryview"),
}
