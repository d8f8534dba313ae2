"""The state of an installation: what a bug report needs, and what a short test finds wrong."""

import locale
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.data import Dataset, data_root
from fewshot.data.io.cache import cache_folder
from fewshot.data.roots import Roots
from fewshot.environment import choose_device, hardware, versions
from guided.errors import InputError
from guided.progress import PLAIN
from guided.storage.temporary import SUFFIX, temporary_file

VARIABLES = (
    *("FEWSHOT_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LC_", "LANG"),
    *("PYTHONIOENCODING", "PYTHONUTF8", "TERM", "NO_COLOR", "COLUMNS"),
)
"""Starts of the names of environment variables that change what a command does."""

PIXELS, PIXELS_SPREAD = 68.1, 1.0
"""Error in percent of nearest prototypes of pixels in the test's episodes, which are the same on
every machine, and how far rounding may move it."""

ELBO, ELBO_SPREAD = 108.0, 4.0
"""Held-out negative ELBO, in nats per image, of the test's training, and how far rounding may."""


def facts(roots: Roots | None, device: str) -> dict[str, Any]:
    """The facts that a bug report needs, JSON-able; nothing of it identifies a person but paths."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "hardware": hardware(device) | {"usable_cores": _usable_cores(), "memory": _memory()},
        "data": _data(roots),
        "cache": _cache(),
        "terminal": {
            "tty": sys.stdout.isatty(),
            "columns": shutil.get_terminal_size().columns,
            "output": sys.stdout.encoding,
            "files": sys.getfilesystemencoding(),
            "locale": locale.getlocale(),
        },
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
    }


def _usable_cores() -> int:
    return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


def _memory() -> str | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
        size = os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # macOS, Windows
        return None
    total, free = (n * size / 2**30 for n in pages)
    return f"{total:.1f} GiB, {free:.1f} free"


def _data(roots: Roots | None) -> dict[str, str]:
    """Each root, and each dataset that is found in it."""
    from fewshot.config.classes import own_classes

    found = data_root(roots)
    known = {str(root): "there" if root.is_dir() else "no such folder" for root in found}
    for name, cls in sorted(own_classes(Dataset).items()):
        if issubclass(cls, Dataset) and cls.listed:
            entry = cls(found).listing()
            known[name] = f"{entry.images:,} images" if entry.found else "not found"
    return known


def _cache() -> dict[str, Any]:
    try:
        folder = cache_folder()
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {
            "folder": str(folder),
            "banks": len(list(folder.glob("*/bank.json"))),
            "bytes": sum(path.stat().st_size for path in files),
            "left over": len(list(folder.glob(f".*{SUFFIX}"))),
            "free": _free(folder),
        }
    except (OSError, InputError) as error:
        return {"folder": str(error)}


def _free(folder: Path) -> str:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB"


def checks(device: str) -> dict[str, str]:
    """Try the installation, in ten seconds.

    Returns:
        name of the check -> what is wrong, or nothing.
    """
    tried: dict[str, Callable[[], str]] = {
        "files in the cache": lambda: _files(cache_folder()),
        "files in runs": lambda: _files(Path("runs")),
        "training and evaluation": lambda: _numbers(device),
    }
    return {name: _outcome(check) for name, check in tried.items()}


def _outcome(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:  # whatever is wrong is what is asked for
        return " ".join(f"{type(error).__name__}: {error}".split())


def _files(folder: Path) -> str:
    """Write, rename and read a file, as every result is written."""
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with temporary_file(folder / "doctor") as (handle, temporary):
            handle.write(b"written")
            handle.flush()
            os.fsync(handle.fileno())
            renamed = temporary.with_name(f".doctor-{os.getpid()}{SUFFIX}")
            temporary.replace(renamed)
            read = renamed.read_bytes()
            renamed.unlink()
    finally:
        if not there:
            folder.rmdir()
    return "" if read == b"written" else f"{folder}: what was written is not read again"


@contextmanager
def _silent() -> Iterator[None]:
    before = os.environ.get(PLAIN)
    os.environ[PLAIN] = "silent"
    try:
        yield
    finally:
        os.environ.pop(PLAIN)
        if before is not None:
            os.environ[PLAIN] = before


def _numbers(device: str) -> str:
    """A tiny pretraining and evaluation, whose numbers are known."""
    from fewshot.data import Glyphs
    from fewshot.evaluation import evaluate
    from fewshot.learners import Prototypical
    from guided.backbones import Conv4
    from guided.training.pretrain import pretrain

    glyphs = Glyphs(
        n_alphabets=3,
        n_characters=8,
        n_drawers=10,
        size=16,
        validation_alphabets=1,
        test_alphabets=1,
    )
    splits = glyphs.splits()
    with _silent():
        pixels = evaluate(Prototypical(splits.test.plain_encoder()), splits.test, **EPISODES)
        trained = pretrain(
            splits.train,
            splits.validation,
            backbone=lambda shape: Conv4(shape, width=8),
            latent_dim=8,
            batch_size=32,
            steps=60,
            validate_every=60,
            device=device,
        )
        evaluate(Prototypical(trained.encoder), splits.test, device=device, **EPISODES)
    found = trained.progress.best_score
    wrong = []
    if abs(pixels.error - PIXELS) > PIXELS_SPREAD:
        wrong.append(f"pixels: error {pixels.error:.2f} %, expected {PIXELS}")
    if not abs(found - ELBO) < ELBO_SPREAD:
        wrong.append(f"training: negative ELBO {found:.2f}, expected {ELBO}")
    return "; ".join(wrong)


EPISODES: dict[str, Any] = {"n_way": 5, "n_shot": 1, "n_query": 5, "episodes": 100}


def examined(roots: Roots | None, device: str) -> dict[str, Any]:
    """Facts and checks together; ``problems`` has a line for each check that failed."""
    start, device = time.perf_counter(), choose_device(device)
    found, known = checks(device), facts(roots, device)
    return {
        **known,
        "checks": {name: wrong or "passed" for name, wrong in found.items()},
        "problems": [f"{name}: {wrong}" for name, wrong in found.items() if wrong],
        "seconds": round(time.perf_counter() - start, 1),
    }
