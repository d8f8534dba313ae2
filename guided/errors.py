"""The exception for wrong input, as opposed to a wrong program."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A file, a setting or a set of images cannot be used.

    The message is one line that names the culprit and what was expected; the command line prints
    it and exits with status 2.
    """


@contextmanager
def blaming(culprit: str) -> Iterator[None]:
    """Put the name of what is at fault before the message of an :class:`InputError`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{culprit}: {error}") from error
