"""Downloads that are whole or not there, and fail in one readable line."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from guided.errors import InputError
from guided.files import atomic_write

PART = 2**20  # bytes read at a time
PATIENCE = 30.0  # seconds without an answer


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: under which it is kept.
        urls: mirrors, tried in this order.
        size: in bytes, if known.
        md5: in hexadecimal digits, if known.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    md5: str | None = None


@contextmanager
def fetching(name: str, by_hand: str) -> Iterator[None]:
    """Turn whatever goes wrong with a download inside the block into an ``InputError``.

    Args:
        name: the dataset's.
        by_hand: how to get the files without this program.
    """
    try:
        yield
    except InputError:
        raise
    # torchvision raises RuntimeError when no mirror answers or a file has another digest; gdown,
    # which it uses for Google Drive and may not be installed, has exceptions of its own.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: download failed ({reason}); {by_hand}") from error


def fetch_file(file: RemoteFile, folder: Path) -> None:
    """Download a file from the first mirror that has it, whole; until then it has another name.

    Raises:
        OSError: no mirror has it; says what was wrong with each.
        InputError: the folder cannot be written to.
    """
    failures = []
    for url in file.urls:
        try:
            with atomic_write(folder / file.name) as target:
                _copy(url, file, target)
            return
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error}")
    raise OSError("; ".join(failures))


def _copy(url: str, file: RemoteFile, target: BinaryIO) -> None:
    from urllib.request import Request, urlopen

    from tqdm import tqdm

    request = Request(url, headers={"User-Agent": "guided-fewshot"})
    md5, n_bytes = hashlib.md5(usedforsecurity=False), 0
    with urlopen(request, timeout=PATIENCE) as response:
        announced = response.headers.get("Content-Length")
        expected = file.size or (int(announced) if announced else None)
        with tqdm(
            desc=file.name, total=expected, unit="B", unit_scale=True, disable=None, leave=False
        ) as bar:
            while part := response.read(PART):
                # No file that is fetched so begins like this, and mirrors answer with pages.
                if not n_bytes and part.lstrip().startswith(b"<"):
                    raise OSError("has a web page, not the file")
                target.write(part)
                md5.update(part)
                n_bytes += len(part)
                bar.update(len(part))
    if n_bytes != expected and expected is not None:
        raise OSError(f"has {n_bytes:,} bytes, expected {expected:,}")
    if file.md5 and md5.hexdigest() != file.md5:
        raise OSError(f"has another file: MD5 {md5.hexdigest()}, expected {file.md5}")
