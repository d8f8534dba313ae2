"""The folders that hold the datasets, searched in order."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

Roots = str | Path | Sequence[str | Path]


def first_existing(paths: Iterable[Path]) -> Path | None:
    """The first path that exists."""
    return next((path for path in paths if path.exists()), None)


def data_root(given: Roots | None = None) -> tuple[Path, ...]:
    """The folders that hold the datasets; downloads go into the first.

    Args:
        given: one folder, several joined by ``:`` as in ``PATH`` (``;`` on Windows), or a sequence
            of folders. ``None``: ``$FEWSHOT_DATA``, or ``data`` if that is not set.

    Returns:
        at least one path; a leading ``~`` is expanded.
    """
    if not given:
        given = os.environ.get("FEWSHOT_DATA") or "data"
    if isinstance(given, str | Path):
        given = [part for part in str(given).split(os.pathsep) if part] or ["data"]
    return tuple(Path(root).expanduser() for root in given)
