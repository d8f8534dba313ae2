"""Cells whose files are not what was written: forgotten, and so computed again."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from guided.progress import say
from guided.storage.checksums import DamageError, file_checksum, is_damaged

if TYPE_CHECKING:
    from fewshot.study.cells import Cell

WEIGHTS = ".safetensors"


def discard_damaged(cell: "Cell") -> None:
    """Forget a finished cell or a state whose files are not those that were written.

    It is then computed again, from the beginning; a line says so. Weights may be missing: a person
    may have removed those of a finished study.
    """
    if damage := _damage(cell):
        _forget(cell, damage)
    with suppress(FileNotFoundError):  # no state; or another machine has just ended with it
        if is_damaged(cell.state_file):
            say(f"{cell.name}: {cell.state_file.name} is damaged; its training starts again")
            cell.state_file.unlink()


def discard_without_weights(cells: "Iterable[Cell]") -> "list[Cell]":
    """Forget the finished cells whose weights were removed; returns them."""
    forgotten = []
    for cell in cells:
        if missing := [name for name in _files(cell) if not (cell.folder / name).exists()]:
            _forget(cell, f"{missing[0]} is missing")
            forgotten.append(cell)
    return forgotten


def _forget(cell: "Cell", why: str) -> None:
    say(f"{cell.name}: {why}; computed again")
    cell.marker.unlink()


def _files(cell: "Cell") -> dict[str, str]:
    """The checksums of a finished cell's files."""
    files: dict[str, str] = cell.facts.get("files", {}) if cell.done else {}
    return files


def _damage(cell: "Cell") -> str:
    try:
        files = _files(cell)
    except DamageError:
        return f"{cell.marker.name} is damaged"
    for name, stated in files.items():
        path = cell.folder / name
        if not path.exists():
            if path.suffix != WEIGHTS:
                return f"{name} is missing"
        elif file_checksum(path) != stated:
            return f"{name} is damaged"
    return ""
