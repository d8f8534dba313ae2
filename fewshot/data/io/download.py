"""Downloads by torchvision: checked against a digest, whole or not there, one line on failure."""

import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guided.errors import InputError

GOOGLE_DRIVE = "https://drive.google.com/file/d/"
PATIENCE = 30.0  # seconds without an answer; torchvision would wait for ever


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: its name once downloaded.
        urls: mirrors, tried in this order; those that start with ``GOOGLE_DRIVE``, followed by
            a file's id, need the package gdown.
        md5: of its content, in hexadecimal digits.
    """

    name: str
    urls: tuple[str, ...]
    md5: str


def download_files(dataset: str, files: Sequence[RemoteFile], folder: Path, page: str) -> None:
    """Download files into a folder. Until one is complete and checked, it is not in the folder.

    Args:
        dataset: its name, for messages.
        files: those that are missing.
        folder: created if necessary.
        page: the address where a person can get the files.

    Raises:
        InputError: no mirror has the file, or the folder cannot be written to; says what was
            wrong with each mirror and which files to put where.
    """
    for i, file in enumerate(files):
        try:
            _download(file, folder)
        # torchvision raises URLError, RuntimeError and RecursionError, gdown others.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            names = ", ".join(missing.name for missing in files[i:])
            raise InputError(
                f"{dataset}: download failed ({reason}); put {names} of {page} into {folder}"
            ) from error


def _download(file: RemoteFile, folder: Path) -> None:
    from torchvision.datasets.utils import check_integrity

    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=folder) as temporary:
            path = Path(temporary, file.name)
            try:
                with _patience():
                    _copy(url, temporary, file.name)
            except Exception as error:
                failures.append(f"{url}: {error or type(error).__name__}")
                continue
            if check_integrity(path, file.md5):
                path.replace(folder / file.name)
                return
            size = path.stat().st_size
            failures.append(f"{url}: {size:,} bytes that are not the file: its MD5 is {file.md5}")
    raise RuntimeError("; ".join(failures))


def _copy(url: str, folder: str, name: str) -> None:
    from torchvision.datasets.utils import download_file_from_google_drive, download_url

    if url.startswith(GOOGLE_DRIVE):
        download_file_from_google_drive(url.removeprefix(GOOGLE_DRIVE), folder, name)
    else:
        download_url(url, folder, name)


@contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
