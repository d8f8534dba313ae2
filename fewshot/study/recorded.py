"""Run folders may be anyone's: what their files say is checked where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guided.errors import InputError, reason_of

LONGEST = 200  # characters of a name


def plain_name(value: Any, key: str) -> str:
    """A name that becomes a file's or folder's: it must not lead out of where that belongs.

    Args:
        value: as recorded.
        key: under which it was.

    Raises:
        InputError: it is no text, or not the name of one file.
    """
    text = value if isinstance(value, str) else ""
    if (
        not text.strip(". ")
        or len(text) > LONGEST
        or not text.isprintable()
        or set(text) & {*"/\\"}
    ):
        raise InputError(f"{key}: expected a name without / and \\, got {ascii(value)[:80]}")
    return text


@contextmanager
def recorded(*files: Path) -> Iterator[None]:
    """Tell in one line that files hold what no run has written.

    Their content is JSON of any shape; whoever uses it stumbles over what is missing or of another
    type.

    Args:
        files: that are used in the block.

    Raises:
        InputError: names them.
    """
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = ", ".join(map(str, files))
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise InputError(f"{names}: not as a finished run leaves it ({reason})") from error
