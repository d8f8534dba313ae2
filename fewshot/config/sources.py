"""The code of classes from outside the package, of which their results are a function too."""

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fewshot.config.classes import OWN


@functools.cache
def source_digest(target: Callable[..., Any]) -> str | None:
    """A digest of the file that defines a class, and of those that it imports, and those in turn.

    Installed packages are left out: they change with their version, and not under one's hands.
    An installed class counts by the file that defines it alone.

    Returns:
        None for a class that no file defines.
    """
    files = _files(target.__module__)
    if not files:
        return None
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(files):
        hashed.update(hashlib.blake2b(files[name].read_bytes()).digest())
    return hashed.hexdigest()


def _files(first: str) -> dict[str, Path]:
    """Module -> its file, of a module and of all modules of the same hand that it needs."""
    found: dict[str, Path] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        file = None if name in found else _file(name)
        if file is None:
            continue
        installed = _installed(file)
        if name == first or not installed:
            found[name] = file
        if not installed:
            waiting += [other for other in _imported(file, name) if _may_change(other)]
    return found


def _may_change(name: str) -> bool:
    """False for a module of Python, of this package, or of an installed one. Imports nothing."""
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names or root in OWN:
        return False
    file = _file(root)
    return file is None or not _installed(file)


def _file(name: str) -> Path | None:
    """The source file of a module; None where there is none."""
    try:
        # A script that is run has no specification.
        loaded = sys.modules.get(name)
        found = loaded or importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    path = getattr(found, "__file__", None) if loaded else getattr(found, "origin", None)
    file = Path(path) if path else None
    return file if file and file.suffix == ".py" and file.is_file() else None


def _installed(file: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _imported(file: Path, module: str) -> Iterator[str]:
    """Names of the modules that a file imports, at its top or inside; some may be classes."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it is not imported, then
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
