"""Files that are files: a pipe would wait for a writer for ever, and a device might never end."""

import errno
import os
import stat
from pathlib import Path

NAMES = (
    (stat.S_ISDIR, "Is a directory"),
    (stat.S_ISFIFO, "Is a pipe, expected a file"),
    (stat.S_ISSOCK, "Is a socket, expected a file"),
)


def check_regular(path: Path | str) -> None:
    """Refuse what is no file, before it is opened.

    Raises:
        OSError: it is a folder, a pipe, a socket or a device; or it is not there.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116 - os.PathLike and text alike
    if not stat.S_ISREG(mode):
        named = next((name for is_it, name in NAMES if is_it(mode)), "Is a device, expected a file")
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, named, str(path))
