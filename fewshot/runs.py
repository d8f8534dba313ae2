"""Run folders: their configuration, earlier results, and the mark of a finished run.

Cells (``cells/``) are named by digests of all that they depend on, and the logs of their trainings
belong to them (:mod:`fewshot.logs`), so different configurations share them. Everything else
in a run folder belongs to one configuration, ``config.yaml``.
"""

import functools
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from fewshot.config import describe, write_yaml
from fewshot.config.files import read_file
from fewshot.data.dataset import Splits
from fewshot.environment import hardware, versions
from fewshot.logs import LAKE_PAGE, PAGES, REPORT_PAGE, remove_page, remove_reports
from guided.errors import InputError
from guided.progress import say
from guided.readers.regular import check_regular
from guided.storage.checksums import file_checksum, is_damaged
from guided.storage.files import read_json, write_bytes, write_json
from guided.storage.temporary import lock, sweep

PLACES = (
    *("output", "data_root", "device", "predictions"),
    *("executor", "workers", "gpus_per_cell", "ray"),
)
"""Keys that say where a run is computed, not what."""

REPORTS = (
    "environment.json",
    "results.json",
    "cells.json",
    "report.html",
    "finished.json",
    "reproduction.json",
    "check.json",
    "table.md",
    "confusion.csv",
    "episodes.npz",
    "episodes.csv",
    "wrong.npz",
    "examples.npz",
    "sheets",
    "*.png",
    "encoder.safetensors",
    "decoder.safetensors",
    "learner.safetensors",
    "episodes",
    "lake",
    "lake.*",
    "select",
    *PAGES,
    "config.yaml",  # last: until it has moved, an interrupted move is not over
)
"""Files of one configuration; what a person put beside them stays. TensorBoard's pages are removed,
not moved, for it would show them wherever they are; they are made from the other files."""

LAKE = (
    *("lake", "lake.*json", "lake.npz", "lake.md", "lake.html", "lake*.png"),
    *(LAKE_PAGE, "lake.yaml"),
)
"""Files of Lake's task, whose own keys are in lake.yaml beside the study's config.yaml."""


def open_run(output: Path, config: object, device: str, mark: str = "finished.json") -> None:
    """Create a run folder, sweep it, and write its configuration and environment.

    The results of another configuration move to ``superseded/N`` before. The mark of an earlier
    :class:`Finish`, named ``mark``, goes: its results will be written over.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output: {output} cannot be created ({error.strerror})") from error
    sweep(output)
    keep_configuration(output, "config.yaml", config, REPORTS)
    (output / mark).unlink(missing_ok=True)
    write_json(output / "environment.json", {"versions": versions(), "hardware": hardware(device)})


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Wait until no other process works on a run folder, and keep others waiting.

    The lock is the system's: it goes with the process that holds it, also on a shared disk that
    has such locks (NFS 4 has).

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        path = output / ".lock"
        if path.exists():
            check_regular(path)
        file = path.open("w")
    except OSError as error:
        what = error.filename or output
        raise InputError(f"output: {what} cannot be created ({error.strerror})") from error
    with file:
        if lock(file.fileno(), wait=False) is False:
            print(f"{output} is in use by another run of fewshot; waiting", flush=True)
            lock(file.fileno(), wait=True)
        yield


def keep_configuration(output: Path, name: str, config: object, files: Sequence[str]) -> None:
    """Write a configuration file; if another one is there, move it and its results away first.

    Args:
        output: the run folder.
        name: of the configuration file; moved last.
        config: the new configuration.
        files: patterns of what a run of the configuration writes.
    """
    path, partial = output / name, output / "superseded" / "partial"
    if partial.exists() and not path.exists():  # the move was interrupted at its very end
        partial.rename(_next(output))
    if path.exists() and (keys := differing_keys(path, config)):
        folder = _supersede(output, files, set(_named_files(config)))
        print(f"earlier results, of another configuration ({_some(keys)}), moved to {folder}")
        if "study" in keys:
            print(f"warning: two studies have the output {output}; give each its own")
    write_yaml(path, config)


def other_studies(output: Path, config: object) -> Iterator[str]:
    """A sentence if a run folder has held the results of a study of another name."""
    names = set()
    for file in output.glob("superseded/*/config.yaml"):
        with suppress(InputError):
            names.add(read_file(file).get("study"))
    others = sorted(map(str, names - {None, getattr(config, "study", None)}))
    if others:
        yield (
            f"{output} is the output of other studies too, whose results are in superseded: "
            f"{', '.join(others)}."
        )


def differing_keys(path: Path, config: object) -> list[str]:
    """The full keys in which a configuration file and a configuration differ."""
    try:
        old = read_file(path)
    except InputError:
        return [path.name]
    new = describe(config, full=True)
    return sorted(key for key in _differences(old, new, "") if key.partition(".")[0] not in PLACES)


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            inside = f"{key}.{name}" if key else str(name)
            yield from _differences(old.get(name), new.get(name), inside)
    elif old != new:
        yield key


def _supersede(output: Path, files: Sequence[str], needed: set[Path]) -> Path:
    """Move the files that match the patterns, but for those that the new run reads."""
    kept = {path.resolve() for path in needed}
    partial = output / "superseded" / "partial"
    if REPORT_PAGE in files:
        remove_reports(output)
    for page in PAGES:
        if page in files:
            remove_page(output, page)
    for pattern in files:
        for path in sorted(output.glob(pattern)):
            if path.resolve() in kept:
                continue
            target = partial / path.relative_to(output)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():  # an interrupted move of results that were then made again
                shutil.rmtree(target)
            path.rename(target)
    return partial.rename(_next(output))


def _next(output: Path) -> Path:
    number = 1
    while (folder := output / "superseded" / str(number)).exists():
        number += 1
    return folder


def _some(keys: Sequence[str], n: int = 5) -> str:
    more = f" and {len(keys) - n} more" if len(keys) > n else ""
    return ", ".join(keys[:n]) + more


def state_to_continue(folder: Path, steps: int) -> Path:
    """The state file of a training; a new one goes on from the longest shorter training.

    Args:
        folder: of trainings that differ in their number of steps alone. Each of their states is
            one that the longer training passes through too.
        steps: of this training.
    """
    path = folder / f"state-{steps}.pt"
    for file in folder.glob("state-*.pt"):
        if is_damaged(file):
            say(f"{file}: damaged; the training does not go on from it")
            file.unlink()
    shorter = {int(file.stem.partition("-")[2]): file for file in folder.glob("state-*.pt")}
    shorter = {done: file for done, file in shorter.items() if done < steps}
    if shorter and not path.exists():
        write_bytes(path, shorter[max(shorter)].read_bytes())
    return path


@dataclass(frozen=True)
class Finish:
    """The mark of a finished run: all that its results depend on, and its last words.

    Args:
        path: of the mark.
        facts: JSON-able; configuration, images, files, versions, device.
    """

    path: Path
    facts: dict[str, Any]

    @classmethod
    def from_run(
        cls,
        output: Path,
        config: object,
        splits: Splits | None,
        device: str,
        *,
        name: str = "finished.json",
        **more: Any,
    ) -> "Finish":
        """The mark of this run, whether or not it is there.

        Args:
            output: the run folder.
            config: the command's configuration; files that it names count by their content.
            splits: the images; None for a study without.
            device: where it is computed.
            name: of the mark.
            more: JSON-able; further facts that results depend on.
        """
        described = {k: v for k, v in describe(config).items() if k not in PLACES}
        facts = {
            "config": described,
            "images": {n: bank.digest for n, bank in vars(splits).items()} if splits else {},
            "files": {str(path): file_digest(path) for path in sorted(set(_named_files(config)))},
            "versions": versions(),
            "device": device,
            **more,
        }
        return cls(output / name, facts)

    def said_before(self, again: Callable[[], str] | None = None) -> bool:
        """Print the last words of the same run if it finished before, and where results are.

        Args:
            again: makes the words, for this terminal; None: those that were written.
        """
        try:
            mark = read_json(self.path)
            if mark["facts"] != self.facts:
                return False
            changed = [name for name, sum_ in mark["results"].items() if self._sum(name) != sum_]
            words = str(mark["words"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
        if changed:
            print(f"{_some(changed)}: not as written; made again")
            return False
        print(f"{again() if again else words}\nfinished before; results in {self.path.parent}")
        return True

    def _sum(self, name: str) -> str | None:
        """The checksum of a file of the run folder; None if it is not there."""
        path = self.path.parent / name
        return file_checksum(path) if path.is_file() else None

    def write(self, words: str, results: Sequence[str]) -> None:
        """Mark the run as finished; written last.

        Args:
            words: printed when the same run is asked for again.
            results: files of the run folder that must be there for that.
        """
        sums = {name: self._sum(name) for name in results}
        write_json(self.path, {"words": words, "results": sums, "facts": self.facts})


def _named_files(value: Any) -> Iterator[Path]:
    """The existing files that a configuration names; ``{seed}`` stands for any text."""
    if isinstance(value, Path):
        fixed = list(takewhile(lambda part: "{seed}" not in part, value.parts))
        pattern = "/".join(value.parts[len(fixed) :]).replace("{seed}", "*")
        paths = Path(*fixed).glob(pattern) if pattern else [value]
        yield from (path for path in paths if path.is_file())
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _named_files(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named_files(item)
    elif isinstance(value, functools.partial):
        yield from _named_files(value.keywords)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in PLACES:
                yield from _named_files(getattr(value, field.name))


def file_digest(path: Path) -> str:
    """A digest of a file's content."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
