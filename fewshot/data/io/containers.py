"""The content of folders and archives, and their files' bytes; both may be damaged or hostile.

Nothing is ever extracted: an archive's entries are read into memory, one at a time and at most
``MOST`` bytes of each, whatever size it declares.
"""

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self, cast

from guided.errors import InputError, reason_of, some

MOST = 2**29  # bytes of a file, so that a small archive cannot fill the memory
MISSING = "missing"
LONGEST = 2**20  # bytes of an entry's name and attributes in a tar archive
TARS = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
ARCHIVES = (".zip", *TARS)
NAMES = (  # types of entries that hold the name or the attributes of the next one
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
NO_NAME = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters and stray bytes
BESIDE = ("__MACOSX", "@eaDir")  # what macOS and Synology's stations put beside files


@dataclass
class Contents:
    """The content of a folder or archive, hidden and systems' files left out.

    Attributes:
        files: paths as the container spells them.
        folders: the same of folders, with ``/``; archives need not name theirs.
        unusable: path -> why it can be no image and no folder.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)


def path_parts(name: str) -> list[str]:
    """The parts of a path in a container; archives made on Windows may have backslashes."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def is_archive(path: Path) -> bool:
    """True if the name is an archive's."""
    return path.name.lower().endswith(ARCHIVES)


def contents(container: Path, remedy: str = "replace it") -> Contents:
    """The content of a folder or archive.

    Args:
        container: a folder, a zip archive, or a tar archive, compressed or not.
        remedy: end of the error message: what to do.

    Raises:
        InputError: it cannot be read, is incomplete, or holds what can be no file's name.
    """
    found = Contents()
    if container.is_dir():
        _walk(container, found)
        return found
    with _opened(container, remedy) as archive:
        if isinstance(archive, zipfile.ZipFile):
            for name in dict.fromkeys(archive.namelist()):
                _sort_in(found, name, is_folder=name.replace("\\", "/").endswith("/"))
        else:
            for member in _members(archive):
                usual = member.isreg() or member.isdir()
                kind = "" if usual and not member.issparse() else "a link or a device"
                _sort_in(found, member.name, is_folder=member.isdir(), unusable=kind)
    found.files = list(dict.fromkeys(found.files))  # a tar archive may hold several versions
    for name in (*found.files, *found.folders):
        if ".." in path_parts(name):
            raise InputError(f"{container}: has the path {name}, which leads out of it; {remedy}")
    return found


def read_each(container: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
    """Name and bytes of files in a container, or the reason why one cannot be read.

    Tar archives are read once from beginning to end, so the order is theirs.

    Args:
        container: a folder or archive that :func:`contents` could read.
        names: of files in it.

    Raises:
        InputError: an archive is incomplete.
    """
    if container.is_dir():
        yield from ((name, _content_of(container / name)) for name in names)
        return
    with _opened(container, "replace it") as archive:
        if isinstance(archive, zipfile.ZipFile):
            yield from ((name, _unzipped(archive, name)) for name in names)
            return
        wanted, missing = set(names), set(names)
        # Of several versions the last comes last, and counts, as when an archive is extracted.
        for member in _members(archive):
            if member.name in wanted:
                missing.discard(member.name)
                yield member.name, _untarred(archive, member)
        yield from ((name, MISSING) for name in missing)


def read_text(container: Path, name: str, remedy: str = "replace it") -> str:
    """The text of a small file in a folder or archive.

    Raises:
        InputError: it is missing or cannot be read.
    """
    (_, content), *_ = read_each(container, [name])
    reason = content if isinstance(content, str) else ""
    try:
        if isinstance(content, bytes):
            return content.decode()
    except UnicodeDecodeError as error:
        reason = str(error)
    problem = MISSING if reason == MISSING else f"cannot be read ({reason})"
    raise InputError(f"{container / name}: {problem}: {remedy}")


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """An archive; all that its reading raises becomes one line."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: expected a folder or a file, found neither; {remedy}")
        if path.name.lower().endswith(TARS):
            with path.open("rb") as file:
                begin = file.read(8)
                file.seek(0)
                stream: IO[bytes] = file
                for magic, opener in COMPRESSED.items():
                    if begin.startswith(magic):
                        stream = opener(file)
                ending = cast(IO[bytes], _Ending(stream))
                with tarfile.open(fileobj=ending, mode="r|", tarinfo=_Member) as tar:
                    yield tar
                while stream.read(2**20):  # the checksum of what is compressed is at its end
                    pass
        else:
            with zipfile.ZipFile(path) as archive:
                yield archive
    except InputError:
        raise
    # Damaged archives raise errors of zipfile, tarfile, zlib and lzma, and many of Python's.
    except Exception as error:
        kind = "tar" if path.name.lower().endswith(TARS) else "zip"
        reason = reason_of(error)
        raise InputError(
            f"{path}: not a complete {kind} archive (an interrupted download or a web page?): "
            f"{reason}; {remedy}"
        ) from error


class _Ending:
    """A file that cannot be read beyond its end: tarfile would go on to where an entry of any
    declared size should end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, 3  # tarfile meets the end of a sound archive once

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        if not content:
            self._left -= 1
            if not self._left:
                raise tarfile.ReadError("unexpected end of data")
        return content


class _Member(tarfile.TarInfo):
    """An entry of a tar archive. A damaged one ends the reading with an error, not in silence."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE == buf.count(0):
            return super().frombuf(buf, encoding, errors)  # raises: the archive's end
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if member.size < 0 or (member.type in NAMES and member.size > LONGEST):
            raise tarfile.ReadError(f"an entry of {member.size} bytes")
        return member


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        cast(Any, archive).members.clear()  # they would all be kept


def _sort_in(found: Contents, name: str, *, is_folder: bool, unusable: str = "") -> None:
    parts = path_parts(name)
    if not parts or any(part.startswith(".") and part != ".." for part in parts):
        return
    if not any(part in BESIDE for part in parts):
        if NO_NAME.search(name):
            found.unusable[printable(name)] = "a name that is no text"
        elif unusable:
            found.unusable[name] = unusable
        else:
            (found.folders if is_folder else found.files).append(name)


def printable(name: str) -> str:
    """A path without what a terminal cannot show."""
    return NO_NAME.sub(lambda found: ascii(found[0])[1:-1], name)


def _walk(top: Path, found: Contents) -> None:
    """Sort in what is below a folder. Links are followed, but not in circles."""
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while todo:
        below, above = todo.pop()
        try:
            itself = os.stat(top / below)  # noqa: PTH116
            with os.scandir(top / below) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.unusable[below or "."] = str(error.strerror)
            continue
        above |= {(itself.st_dev, itself.st_ino)}
        for entry in listed:
            reason = _unusable(entry, above)
            is_folder = not reason and entry.is_dir()
            name = f"{below}{entry.name}"
            n_folders = len(found.folders)
            _sort_in(found, name, is_folder=is_folder, unusable=reason)
            if len(found.folders) > n_folders:
                todo.append((f"{name}/", above))


def _unusable(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> str:
    """The reason why an entry is neither a file nor a folder to look into; else empty."""
    if entry.is_file(follow_symlinks=False):
        return ""
    try:
        found = entry.stat()
    except OSError:
        return "a link that leads nowhere"
    if stat.S_ISDIR(found.st_mode):
        inside = entry.is_symlink() and (found.st_dev, found.st_ino) in above
        return "a link to a folder that it is in" if inside else ""
    return "" if stat.S_ISREG(found.st_mode) else "no file but a pipe, a socket or a device"


def check_usable(container: Path, found: Contents) -> None:
    """Raise for all that cannot be read, counted.

    Raises:
        InputError: names the first few.
    """
    if found.unusable:
        what = some([f"{name} ({why})" for name, why in sorted(found.unusable.items())])
        them = "it" if len(found.unusable) == 1 else "them"
        raise InputError(f"{container}: expected files and folders, found {what}; remove {them}")


def _content_of(path: Path) -> bytes | str:
    try:
        size = path.stat().st_size
        return path.read_bytes() if size <= MOST else _too_large(size)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return error.strerror or type(error).__name__


def _unzipped(archive: zipfile.ZipFile, name: str) -> bytes | str:
    try:
        entry = archive.NameToInfo.get(name)
        if entry is None:
            return MISSING
        if entry.file_size > MOST:
            return _too_large(entry.file_size)
        # Only these two are decompressed to no more than what is asked for.
        bounded = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        with archive.open(entry) as file:
            step = max(1, entry.file_size) if bounded else 4096
            return b"".join(iter(lambda: file.read(step), b""))
    # Damaged entries raise zlib's errors, EOFError, NotImplementedError and others.
    except Exception as error:
        return reason_of(error)


def _untarred(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    if member.size > MOST:
        return _too_large(member.size)
    file = archive.extractfile(member)
    return file.read() if file else "no file"


def _too_large(size: int) -> str:
    return f"{size:,} bytes are more than an image's {MOST:,}"
