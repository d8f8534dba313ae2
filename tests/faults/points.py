"""The moments at which a command changes a disk, counted; a fault happens at one of them.

In a child process: it replaces functions of ``os`` and ``io``.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

ERRORS = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES")


def _opens_for_writing(arguments: tuple[Any, ...], more: dict[str, Any]) -> bool:
    mode = more.get("mode", arguments[1] if len(arguments) > 1 else "r")
    return bool(set(str(mode)) & set("wax+")) and _on_disk(arguments)


def _opens_by_flags(arguments: tuple[Any, ...], more: dict[str, Any]) -> bool:
    flags = more.get("flags", arguments[1] if len(arguments) > 1 else 0)
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and _on_disk(arguments)


def _on_disk(arguments: tuple[Any, ...]) -> bool:
    return not (isinstance(arguments[0], int) or str(arguments[0]).startswith(("/dev", "/proc")))


def _always(arguments: tuple[Any, ...], more: dict[str, Any]) -> bool:
    return True


WATCHED: tuple[tuple[Any, str, Callable[..., bool]], ...] = (
    (builtins, "open", _opens_for_writing),
    (io, "open", _opens_for_writing),
    (os, "open", _opens_by_flags),
    *((os, name, _always) for name in ("fsync", "replace", "rename", "unlink", "remove")),
    *((os, name, _always) for name in ("mkdir", "rmdir")),
)


class Points:
    """Counts the points, and lets a fault happen at one.

    Args:
        at: number of the point, from 0; -1: at none.
        fault: ``before`` or ``after``: the process is killed before or after the operation; else
            the name of the error that the operation raises.
        file: where the name of the operation goes when the fault happens, and without one, the
            number of points.
    """

    def __init__(self, at: int, fault: str, file: Path) -> None:
        self.at, self.fault, self.count, self.inside = at, fault, 0, False
        # Opened now, and written to by its number: it is no point itself.
        self.note = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def install(self) -> None:
        """Replace the functions, for as long as the process lasts."""
        for module, name, concerns in WATCHED:
            setattr(module, name, self._watched(getattr(module, name), name, concerns))

    def end(self) -> None:
        """Note the number of points."""
        if self.at < 0:
            os.write(self.note, str(self.count).encode())

    def _watched(
        self, function: Callable[..., Any], name: str, concerns: Callable[..., bool]
    ) -> Callable[..., Any]:
        @wraps(function)
        def watched(*arguments: Any, **more: Any) -> Any:
            if self.inside or not concerns(arguments, more):
                return function(*arguments, **more)
            here, self.count = self.count == self.at, self.count + 1
            if here:
                os.write(self.note, f"{name} {arguments[0]}".encode())
                if self.fault == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.fault in ERRORS:
                    code = getattr(errno, self.fault)
                    where = () if isinstance(arguments[0], int) else (arguments[0],)
                    raise OSError(code, os.strerror(code), *where)
            self.inside = True
            try:
                result = function(*arguments, **more)
            finally:
                self.inside = False
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watched
