"""Temporary files and folders: kept while their process lives, swept when it was killed.

Their process holds the system's lock on each; the lock goes with the process, however it ends.
"""

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".guided.tmp"
DAY = 86_400.0
"""Seconds after which a temporary file is left over where a disk has no locks."""

_NAME = re.compile(r"\..+" + re.escape(SUFFIX))


@contextmanager
def temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file beside ``path``, to be renamed to it; removed at the end if it is still there.

    Yields:
        the open file, and where it is.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
        handle = temporary.open("x+b")
        if _keep(handle.fileno(), temporary):
            break
        handle.close()
    try:
        with handle:
            yield handle, temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, to be renamed to it; removed at the end if it is still there."""
    while True:
        folder = Path(tempfile.mkdtemp(SUFFIX, f".{path.name}.", path.parent))
        descriptor = os.open(folder, os.O_RDONLY) if os.name == "posix" else None
        if descriptor is None or _keep(descriptor, folder):
            break
        os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path, *, below: bool = True) -> None:
    """Remove what killed processes left in a folder, and in those below it.

    Args:
        folder: need not exist.
        below: also in the folders in it.
    """
    for parent, folders, files in os.walk(folder):
        for name in filter(_NAME.fullmatch, (*folders, *files)):
            _remove_if_left(Path(parent, name))
        folders[:] = [name for name in folders if below and not _NAME.fullmatch(name)]


def _remove_if_left(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # another process has just removed it; or Windows, where folders do not open
        return
    with suppress(OSError):
        try:
            locked = lock(descriptor, wait=False)
            if locked or (locked is None and time.time() - path.stat().st_mtime > DAY):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        finally:
            os.close(descriptor)


def _keep(descriptor: int, path: Path) -> bool:
    """Lock what was just made; false if another process swept it before."""
    lock(descriptor, wait=True)
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def lock(descriptor: int, *, wait: bool) -> bool | None:
    """Lock an open file or folder; None where the system or the disk has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sync_folder(folder: Path) -> None:
    """Wait until what was renamed in a folder is on the disk; some systems cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
