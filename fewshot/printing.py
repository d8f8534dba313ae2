"""The output of a command: its options, its first line, widths and colours.

Imports nothing heavy: the first line stands there before torch, which takes seconds, is loaded.
"""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import zip_longest
from textwrap import fill, wrap

from guided.errors import InputError
from guided.progress import PLAIN

OPTIONS = {
    "quiet": "print errors and the last line alone",
    "verbose": "print a line for each validation, too",
    "json": "print the results as JSON, all else on stderr",
}
"""Options of every command -> what they do; ``json`` only of those that write results."""

STYLES = {"bold": "1", "lower": "32", "higher": "31"}
"""Names of styles -> codes of the terminal."""

Paint = Callable[[str, str], str]
"""(text, name of a style) -> the text in that style."""


def plain(text: str, style: str) -> str:
    """The text without a style."""
    return text


def coloured(text: str, style: str) -> str:
    """The text between a terminal's codes."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if text else ""


def paint() -> Paint:
    """Colours on a terminal, unless ``NO_COLOR`` is set."""
    no = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return coloured if sys.stdout.isatty() and not no else plain


def width() -> int:
    """Columns of the terminal; 80 without one."""
    return shutil.get_terminal_size().columns


def cut(text: str, longest: int) -> str:
    """The text in at most so many characters."""
    return text if len(text) <= longest else text[: max(longest - 1, 0)] + "…"


def filled(text: str, columns: int) -> str:
    """A paragraph of so many columns, whose names and paths stay whole."""
    return fill(text, columns, break_long_words=False, break_on_hyphens=False)


def option_of(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The option among the arguments, and the other arguments.

    Raises:
        InputError: there are several.
    """
    names = [word.removeprefix("--") for word in arguments if word.startswith("--")]
    given = [name for name in OPTIONS if name in names]
    if len(given) > 1:
        raise InputError(f"{', '.join(f'--{name}' for name in given)}: give one of them")
    words = {f"--{name}" for name in given}
    return (given[0] if given else None), [word for word in arguments if word not in words]


def say_first(name: str, arguments: Sequence[str]) -> None:
    """Print what is run, while torch is loaded."""
    loading = ": loading torch …"
    command = " ".join(["fewshot", name, *arguments])
    print(cut(command, width() - len(loading)) + loading, flush=True)


@contextmanager
def printing(option: str | None) -> Iterator[None]:
    """Print to where the option says; of a quiet command the last line alone."""
    states = {"quiet": "silent", "verbose": "verbose"}
    before = os.environ.get(PLAIN)
    if option in states:
        os.environ[PLAIN] = states[option]
    last = _LastLine()
    kept = {"quiet": last, "json": sys.stderr}
    try:
        with redirect_stdout(kept.get(option or "", sys.stdout)):
            yield
    finally:
        if option in states:
            os.environ.pop(PLAIN)
        if before is not None:
            os.environ[PLAIN] = before
    if last.line:
        print(last.line)


class _LastLine(io.TextIOBase):
    """Keeps the last line that is not empty."""

    line, _rest = "", ""

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        self.line = next((line for line in reversed(whole) if line.strip()), self.line)
        return len(text)


def columns(head: Sequence[str], lines: Sequence[Sequence[str]], longest: int) -> list[str]:
    """A table in plain text whose texts are wrapped, so that it is no wider than asked for.

    Args:
        head: titles of the columns.
        lines: texts of each line; the first may be long, and two spaces before it stay.
        longest: width of the table.
    """
    widths = [min(max(map(len, texts)), 22) for texts in zip(head, *lines, strict=True)]
    widths[0] = max(len(line[0]) for line in (head, *lines))
    widths[0] = max(min(widths[0], longest - sum(widths[1:]) - 2 * len(widths[1:])), 10)
    table = []
    for line in (head, *lines):
        cells = [wrap(text, w) for text, w in zip(line, widths, strict=True)]
        for texts in zip_longest(*cells, fillvalue=""):
            padded = [text.ljust(w) for text, w in zip(texts, widths, strict=True)]
            table.append("  ".join(padded).rstrip())
    return table
