"""The one line that is said of what a command cannot do anything about.

Imports nothing heavy.
"""

import codecs
import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guided.errors import InputError

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM}
"""Errors of a disk, which libraries turn into others of their own."""

ASCII = {
    **{"±": "+/-", "†": "+", "…": "...", "·": "-", "×": "x", "−": "-", "–": "-", "—": "-"},
    **{"→": "->", "≤": "<=", "≥": ">=", "ü": "ue", "é": "e", "█": "#", "“": '"', "”": '"'},
    **{"’": "'", "°": " degrees", "²": "2", "β": "beta", "σ": "sigma"},
}
"""Characters of our own output -> what stands for them where a terminal has none of them."""


def complaint(error: Exception) -> str | None:
    """One line about wrong input or a fault of the system; None: the program is at fault.

    An :class:`OSError` that nobody has explained, among them those behind a library's own error:
    torch, for one, turns a full disk into a ``RuntimeError``.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
        return (
            f"{error.object}: this locale has no file names with '{error.object[error.start]}'; "
            "set LC_ALL=C.UTF-8, or PYTHONUTF8=1"
        )
    if isinstance(error, RuntimeError):  # pathlib's
        if "home directory" in str(error):
            return "a path begins with ~, and no home folder is known; set HOME, or write it out"
        if "Symlink loop" in str(error):
            return f"{error}".replace("Symlink loop from", "links in a circle:")
    behind = error.__cause__ or error.__context__
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno in DISK:
            return _system(behind)
        behind = behind.__cause__ or behind.__context__
    return None


def _system(error: OSError) -> str:
    reason = " ".join(str(error.strerror or error).split())
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes)
    ]
    if names:
        return f"{' → '.join(names)}: {reason}"
    return f"a file or standard output cannot be read or written ({reason})"


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Let TensorBoard's thread say nothing of a full disk, which its writer then raises, too."""
    before = threading.excepthook

    def hook(ended: Any) -> None:
        writes = type(ended.thread).__name__ == "_AsyncWriterThread"
        if not (writes and isinstance(ended.exc_value, OSError)):
            before(ended)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def print_anything() -> None:
    """Have characters that a terminal lacks replaced, instead of ending the command."""
    codecs.register_error("fewshot", _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure and stream.errors in ("strict", "backslashreplace"):
            reconfigure(errors="fewshot")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII.get(character, "?") for character in text), error.end
