"""Progress on a terminal, in a notebook, or as plain lines. Imports nothing heavy."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from textwrap import fill
from typing import Any, TextIO

from tqdm.auto import tqdm
from tqdm.utils import disp_len

PLAIN = "FEWSHOT_PLAIN"
"""Environment variable: ``lines`` of progress instead of bars, which would mix where several
processes print; ``quiet``: no bar either; ``silent``: nothing at all; ``verbose``: a bar, and the
lines of validations above it."""

NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
"""True where a notebook draws the bars."""

STEPS = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def lines_wanted() -> bool:
    """True where progress is told in lines."""
    chosen = os.environ.get(PLAIN)
    return chosen in ("lines", "verbose") or (chosen is None and not _draws())


def say(line: str) -> None:
    """Print a line of progress at once, above any bar; on standard error, as bars are."""
    if os.environ.get(PLAIN) == "silent":
        return
    if sys.stderr.isatty():
        line = fill(line, shutil.get_terminal_size().columns)
    if os.environ.get(PLAIN) in ("quiet", "lines") and sys.stderr.isatty():
        # The bar is another process's: it is cleared, and drawn again below the line.
        line = f"\r\033[K{line}"
    try:
        # A notebook shows standard error like a fault.
        tqdm.write(line, file=sys.stdout if NOTEBOOK else sys.stderr)
        sys.stderr.flush()
    except BrokenPipeError:  # nobody reads it any more: no reason to stop
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let what is written to a stream, whose reader is gone, vanish; also what waits in it."""
    with suppress(OSError, ValueError):  # a stream without a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def hidden() -> bool:
    """True where no bar is shown."""
    return os.environ.get(PLAIN) not in (None, "verbose") or not _draws()


def _draws() -> bool:
    return NOTEBOOK or sys.stderr.isatty()


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """A progress bar that disappears when done; outside a terminal a line at each validation."""

    def __init__(self, description: str, total: int, done: int, unit: str, form: str) -> None:
        self._title, self._steps, self._parts = description, total, [""][:0]
        super().__init__(
            total=total,
            initial=done,
            desc=description,
            unit=unit,
            leave=False,
            disable=hidden(),
            bar_format=form,
            dynamic_ncols=True,
        )

    def validated(self, step: int, values: Mapping[str, float]) -> None:
        """Show the figures of a validation, the score first."""
        texts = {name: f"{name} {value:.2f}" for name, value in values.items()}
        if lines_wanted():
            say(f"{self._title}: step {step} of {self._steps}: {', '.join(texts.values())}")
        self.show([texts[name] for name in sorted(texts, key=lambda name: name != "score")])

    def show(self, parts: Sequence[str]) -> None:
        """Show texts behind the numbers, as many as there is room for."""
        self._parts = list(parts)
        if not self.disable:
            self.set_postfix_str(", ".join(parts))

    def __str__(self) -> str:
        """The bar in one line of the terminal: what does not fit goes, its brackets stay."""
        facts: dict[str, Any] = dict(self.format_dict)
        width = facts["ncols"] or shutil.get_terminal_size().columns
        title = self._title
        for n in range(len(self._parts), -1, -1):
            shown = facts | {"prefix": title, "postfix": ", ".join(self._parts[:n])}
            excess = disp_len(self.format_meter(**shown | {"ncols": None})) - width
            if excess <= 0:
                break
        if excess > 0:
            shown["prefix"] = title[: max(len(title) - excess - 1, 0)] + "…"
        return self.format_meter(**shown | {"ncols": width})


def progress_bar(
    description: str, total: int, done: int, unit: str, form: str = STEPS
) -> ProgressBar:
    """A bar for steps or cells.

    Args:
        description: in front of it.
        total: number of units.
        done: of them, before.
        unit: name of one.
        form: of the line, with tqdm's names.
    """
    return ProgressBar(description, total, done, unit, form)
