"""Executors: compute what is missing of a plan, one cell after the other or many at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from fewshot.study.cells import Cells, Task
from fewshot.study.executors.progress import Progress
from guided.errors import InputError


class Executor(ABC):
    """Computes the missing cells of a plan; the same bits whichever does it."""

    @abstractmethod
    def run(self, cells: Cells, title: str) -> None:
        """Compute every cell that is missing.

        Args:
            cells: the plan.
            title: of the progress bar.

        Raises:
            InputError: a cell cannot be computed; raised after all that do not need it are done,
                except by :class:`Serial`.
        """


class Serial(Executor):
    """In this process, in the order of the plan; the first error ends it."""

    def run(self, cells: Cells, title: str) -> None:
        missing = cells.missing
        with Progress(title, missing, workers=1) as progress:
            for task in missing:
                progress.started(task)
                cells.compute(task.cell.digest)
                progress.finished(task)


class Queue:
    """The tasks that are left, each offered when all that it needs is done.

    Args:
        missing: tasks, each after all that it needs; what they need besides is done.
    """

    def __init__(self, missing: Sequence[Task]) -> None:
        self.left = {task.cell.digest: task for task in missing}
        self._waiting: dict[str, set[str]] = {}
        self._dependants: dict[str, list[str]] = {}
        self._ready: dict[str, None] = {}
        self.failed: dict[str, str] = {}
        for digest, task in self.left.items():
            needed = {other for other in task.needed if other in self.left}
            for other in needed:
                self._dependants.setdefault(other, []).append(digest)
            if needed:
                self._waiting[digest] = needed
            else:
                self._ready[digest] = None

    def take(self) -> Task | None:
        """A task whose needs are done, the first in the order of the plan that became ready."""
        if not self._ready:
            return None
        digest = next(iter(self._ready))
        del self._ready[digest]
        return self.left[digest]

    def finished(self, task: Task) -> None:
        """Mark a task as done."""
        digest = task.cell.digest
        del self.left[digest]
        for other in self._dependants.pop(digest, ()):
            self._waiting[other].discard(digest)
            if not self._waiting[other]:
                del self._waiting[other]
                self._ready[other] = None

    def fail(self, task: Task, why: str) -> None:
        """Give up a task and all that needs it."""
        self.failed[task.cell.name] = why
        for other in self._drop(task.cell.digest):
            del self.left[other]

    def _drop(self, digest: str) -> Iterator[str]:
        if digest in self.left:
            yield digest
        for other in self._dependants.pop(digest, ()):
            if self._waiting.pop(other, None) is not None:
                yield from self._drop(other)


def refuse(failed: Mapping[str, str]) -> None:
    """Raise what went wrong, if something did.

    Raises:
        InputError: names the first cell, and counts the others.
    """
    for name, why in failed.items():
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise InputError(f"cell {name}{others}: {why}; all cells that do not need it are finished")
