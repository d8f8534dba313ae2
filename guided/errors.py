"""The exception for wrong input, as opposed to a wrong program."""

from collections.abc import Sequence


class InputError(ValueError):
    """A file, a setting or a set of images cannot be used.

    The message is one line that names the culprit and what was expected; the command line prints
    it and exits with status 2.
    """


def some(words: Sequence[str], n: int = 3) -> str:
    """The first few of many words, and how many more there are: ``a, b, c and 37 more``."""
    more = f" and {len(words) - n} more" if len(words) > n else ""
    return ", ".join(words[:n]) + more


def check_positive(owner: str, **values: float) -> None:
    """Raise :class:`InputError` for the first value that is not above zero.

    Args:
        owner: the class that the values configure, for the message.
        values: by their configuration keys.
    """
    for key, value in values.items():
        if not value > 0:
            raise InputError(f"{owner}.{key}: expected > 0, got {value}")
