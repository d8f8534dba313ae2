"""Downloads that fail in one readable line."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from zipfile import BadZipFile

from guided.errors import InputError


@contextmanager
def fetching(name: str, by_hand: str) -> Iterator[None]:
    """Turn whatever goes wrong with a download inside the block into an ``InputError``.

    Args:
        name: the dataset's.
        by_hand: how to get the files without this program.
    """
    try:
        yield
    # torchvision raises RuntimeError when no mirror answers or a file has another digest.
    except (OSError, RuntimeError, HTTPException, EOFError, BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: download failed ({reason}); {by_hand}") from error
