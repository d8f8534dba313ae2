"""The exception for wrong input, as opposed to a wrong program."""

from collections.abc import Iterator, Sequence
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


@contextmanager
def importing(extra: str, asker: str) -> Iterator[None]:
    """Context for imports of an extra's packages.

    Raises:
        InputError: one of them is not installed; names who asked for it and the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or extra).partition(".")[0]
        raise InputError(
            f'{asker}: {package} is not installed; pip install "guided-fewshot[{extra}]"'
        ) from error


def some(words: Sequence[str], n: int = 3) -> str:
    """The first few of many words, and how many more there are: ``a, b, c and 37 more``."""
    more = f" and {len(words) - n} more" if len(words) > n else ""
    return ", ".join(words[:n]) + more


def reason_of(error: BaseException, longest: int = 160) -> str:
    """The message of an exception, in one line that is not long: it may quote a file."""
    return " ".join(str(error).split())[:longest] or type(error).__name__
