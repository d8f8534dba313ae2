"""Cells: resumable pieces of a study, each in a folder named by a digest of all it depends on.

A finished cell is never computed again, and a changed configuration never finds a stale one,
because its digest is another.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fewshot.config import describe
from fewshot.data.dataset import DatasetFactory, Splits
from fewshot.environment import UNKNOWN, revision, versions
from fewshot.logs import STORED, log_folder, show_logs
from fewshot.study.damage import discard_damaged, discard_without_weights
from fewshot.threads import computing_with
from guided.errors import InputError
from guided.storage.checksums import file_checksum
from guided.storage.files import fingerprint, read_json, write_bytes, write_json

FORMAT = 6
"""Part of the digest of every training and of what is computed from it: raise it when the same
configuration comes to mean other numbers."""


@dataclass(frozen=True)
class Cell:
    """One computation and the folder that holds its result.

    Attributes:
        folder: where its files go.
        depends: JSON-able; the cell's content is a function of this alone.
        digest: of ``depends``; identifies the cell, whatever its prefix.
        log: name of its training in TensorBoard, e.g. ``guided/seed0``.
    """

    folder: Path
    depends: dict[str, Any]
    digest: str
    log: str = ""

    @classmethod
    def find(cls, parent: Path, name: str, depends: dict[str, Any], log: str) -> "Cell":
        """The cell of these dependencies below a folder; ``name`` is only a readable prefix."""
        digest = fingerprint(depends)
        existing = sorted(parent.glob(f"*-{digest}"))
        return cls(existing[0] if existing else parent / f"{name}-{digest}", depends, digest, log)

    @property
    def name(self) -> str:
        """The folder's name: prefix and digest."""
        return self.folder.name

    @property
    def done(self) -> bool:
        """True once the result is complete."""
        return self.marker.exists()

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON-able results that :meth:`finish` stored, ``seconds`` among them."""
        facts: dict[str, Any] = read_json(self.marker)
        return facts

    def finish(self, seconds: float, facts: Mapping[str, Any]) -> None:
        """Mark the cell as done; written last, because a cell without this mark does not count.

        The mark holds the checksums of the cell's files, and the revisions of the code: several
        if a training was interrupted and went on by other code.
        """
        files = {str(path.relative_to(self.folder)): file_checksum(path) for path in self._written}
        made = {"seconds": round(seconds, 2), "revisions": self._revisions()}
        write_json(self.marker, {**made, **facts, "files": files, "depends": self.depends})
        self._begun.unlink(missing_ok=True)

    def begin(self) -> None:
        """Note the revision of the code that begins a training, or goes on with it."""
        write_json(self._begun, self._revisions())

    def _revisions(self) -> list[str]:
        """Of the code that computed the cell so far, and of this process."""
        earlier = read_json(self._begun) if self._begun.exists() else []
        return list(dict.fromkeys([*earlier, revision() or UNKNOWN]))

    @property
    def _begun(self) -> Path:
        """The revisions that have worked on a training which is not finished."""
        return self.folder / "begun.json"

    @property
    def _written(self) -> list[Path]:
        """The files of the result; logs are moved, and the state goes."""
        others = {self.marker.name, self.state_file.name, self._begun.name, STORED}
        return [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.relative_to(self.folder).parts[0] not in others
        ]

    def start_from(self, shorter: "Cell") -> None:
        """Copy the state in which a shorter training ended, unless this training has begun."""
        if not self.state_file.exists() and shorter.state_file.exists():
            write_bytes(self.state_file, shorter.state_file.read_bytes())

    def log_folder(self) -> Path:
        """The folder of the training's logs, ready for it."""
        return log_folder(self.folder.parent.parent, self.log, self.digest)

    @property
    def state_file(self) -> Path:
        """The state that an interrupted training resumes from."""
        return self.folder / "state.pt"

    @property
    def encoder_file(self) -> Path:
        """The trained encoder."""
        return self.folder / "encoder.safetensors"

    @property
    def decoder_file(self) -> Path:
        """The decoder of a VAE that was trained with its ELBO."""
        return self.folder / "decoder.safetensors"

    @property
    def deformations_file(self) -> Path:
        """Deformations that were learned between the neighbours of an encoder."""
        return self.folder / "deformations.safetensors"

    @property
    def learner_file(self) -> Path:
        """The weights of a meta-trained learner that are not its encoder's."""
        return self.folder / "learner.safetensors"

    @property
    def marker(self) -> Path:
        """The mark of a finished cell."""
        return self.folder / "cell.json"


@dataclass(frozen=True)
class Seconds:
    """Time spent on a study's cells, each counted once.

    Attributes:
        computed: by this run.
        reused: by earlier runs, on cells that this run found finished.
    """

    computed: float = 0.0
    reused: float = 0.0

    @property
    def total(self) -> float:
        """Both together."""
        return round(self.computed + self.reused, 2)


@dataclass(frozen=True)
class Task:
    """A planned cell and the work that computes it.

    Attributes:
        cell: to be computed.
        work: writes the cell's files and returns its JSON-able facts.
        needs: the cells that must be there before, by the part they play.
        start_from: a shorter training that this one continues; also needed.
        keep_state: leave the training state in place, for a longer training to continue.
    """

    cell: Cell
    work: Callable[[Cell], Mapping[str, Any] | None]
    needs: Mapping[str, Cell]
    start_from: Cell | None = None
    keep_state: bool = False

    @property
    def needed(self) -> list[str]:
        """Digests of the cells that must be there before."""
        cells = [*self.needs.values(), *([self.start_from] if self.start_from else [])]
        return list(dict.fromkeys(cell.digest for cell in cells))

    def compute(self) -> None:
        """Compute the cell, unless it is there."""
        if self.cell.done:
            return
        if self.start_from:
            self.cell.start_from(self.start_from)
        if self.cell.log:
            self.cell.begin()
        start, used = time.perf_counter(), time.process_time()
        facts = {**(self.work(self.cell) or {})}
        # Another job on the machine prolongs the one, and not the other.
        facts["processor_seconds"] = round(time.process_time() - used, 2)
        self.cell.finish(time.perf_counter() - start, facts)
        if not self.keep_state:
            self.cell.state_file.unlink(missing_ok=True)


class Cells:
    """The planned cells of one run folder, each computed at most once.

    A plan is a function of the configuration alone: every process that makes it has the same.

    Args:
        output: the run folder; cells go below its folder ``cells``.
        threads: of torch and BLAS that a cell is computed with; a part of every digest, because
            sums of other numbers of threads differ in their last bits.
    """

    def __init__(self, output: Path, threads: int = 1) -> None:
        self.folder, self.threads = output / "cells", threads
        self.tasks: dict[str, Task] = {}
        self._reused: set[str] = set()

    @cached_property
    def _there(self) -> dict[str, str]:
        """The folders of cells by digest, at the first plan: before it, another run may write."""
        # A cell that exists under another prefix is the same one: two arms may share an encoder.
        names = [path.name for path in self.folder.glob("*-*")]
        return {name.rpartition("-")[2]: name for name in sorted(names, reverse=True)}

    def plan(
        self,
        name: str,
        depends: dict[str, Any],
        work: Callable[[Cell], Mapping[str, Any] | None],
        *,
        needs: Mapping[str, Cell] | None = None,
        start_from: Cell | None = None,
        keep_state: bool = False,
        log: str = "",
    ) -> Cell:
        """The cell of these dependencies, to be computed by an executor unless it is there.

        Args:
            name: a readable prefix of the folder.
            depends: JSON-able; all that ``work`` depends on besides ``needs`` and threads.
            work: writes the cell's files and returns its JSON-able facts.
            needs: planned cells that ``work`` reads, by the part they play in it.
            start_from: a shorter training that this one continues.
            keep_state: leave the training state in place, for a longer training to continue.
            log: name of its training in TensorBoard; none if not given.
        """
        needs = needs or {}
        depends = depends | {"threads": self.threads}
        depends |= {part: cell.digest for part, cell in needs.items()}
        digest = fingerprint(depends)
        if digest not in self.tasks:
            there = self._there.get(digest)
            cell = Cell(self.folder / (there or f"{name}-{digest}"), depends, digest, log)
            self.tasks[digest] = Task(cell, work, needs, start_from, keep_state)
            if there and multiprocessing.parent_process() is None:
                discard_damaged(cell)  # workers, which make the same plan, need not look again
            if there and cell.done:
                self._reused.add(digest)
            else:
                self.bring_back(needs.values())
        return self.tasks[digest].cell

    def bring_back(self, needed: Iterable[Cell]) -> None:
        """Have planned cells computed again that are needed and whose weights were removed."""
        if multiprocessing.parent_process() is None:
            for cell in discard_without_weights(needed):
                self._reused.discard(cell.digest)
                self.bring_back(self.tasks[cell.digest].needs.values())

    def show_logs(self) -> None:
        """Leave the logs of the planned trainings alone in TensorBoard."""
        cells = [task.cell for task in self.tasks.values()]
        show_logs(self.folder.parent, {cell.digest: cell.log for cell in cells if cell.log})

    def compute(self, digest: str) -> None:
        """Compute a planned cell, unless it is there; those that it needs must be.

        Raises:
            InputError: it is not in the plan: this process made another one than who asks for it.
        """
        if digest not in self.tasks:
            raise InputError(
                "not among the cells that this machine plans: torch, guided-fewshot or the images "
                "are others than where the study was started"
            )
        with computing_with(self.threads):
            self.tasks[digest].compute()

    def part(self, wanted: Iterable[Cell]) -> "Cells":
        """The plan of some of its cells alone, and of all that they need."""
        left, needed = [cell.digest for cell in wanted], set[str]()
        while left:
            digest = left.pop()
            if digest not in needed:
                needed.add(digest)
                left += self.tasks[digest].needed
        part = Cells(self.folder.parent, self.threads)
        part.tasks = {digest: self.tasks[digest] for digest in self.tasks if digest in needed}
        part._reused = self._reused & needed
        return part

    @property
    def missing(self) -> list[Task]:
        """The tasks that are not done, each after all that it needs."""
        return [task for task in self.tasks.values() if not task.cell.done]

    @property
    def seconds(self) -> Seconds:
        """Time spent on all planned cells that are done."""
        spent = {True: 0.0, False: 0.0}
        for digest, task in self.tasks.items():
            if task.cell.done:
                spent[digest in self._reused] += task.cell.facts["seconds"]
        return Seconds(computed=round(spent[False], 2), reused=round(spent[True], 2))

    @property
    def revisions(self) -> list[str]:
        """Of the code that computed the cells; ``unknown`` for a cell that does not tell."""
        done = (task.cell for task in self.tasks.values() if task.cell.done)
        return sorted({name for cell in done for name in cell.facts.get("revisions", [UNKNOWN])})


def foundation(dataset: DatasetFactory, splits: Splits, device: str) -> dict[str, Any]:
    """Return what every cell of a study depends on, JSON-able.

    The digests of the images and of all that is known of them are part of it: another file under
    the same name, or other labels, are noticed.

    Args:
        dataset: where the images come from.
        splits: the images.
        device: where it is computed.
    """
    return {
        "format": FORMAT,
        "dataset": describe(dataset),
        "images": {name: bank.digest for name, bank in vars(splits).items()},
        "versions": {k: versions()[k] for k in ("guided-fewshot", "torch")},
        "device": device,
    }
