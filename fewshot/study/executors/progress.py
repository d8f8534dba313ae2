"""Progress of all workers in one place."""

import time
from collections.abc import Sequence
from typing import Self

from fewshot.study.cells import Task
from guided.training.state import progress_bar


class Progress:
    """A bar over the missing cells: those being computed, and the time that is left.

    The time is the mean of each kind's finished cells for those that are left, shared among the
    workers; unknown until each kind that is left has finished a cell.

    Args:
        title: of the bar.
        missing: the tasks.
        workers: that compute at once.
    """

    def __init__(self, title: str, missing: Sequence[Task], workers: int) -> None:
        self._workers = workers
        self._left = [kind(task) for task in missing]
        self._taken: dict[str, list[float]] = {}
        self._running: dict[str, float] = {}
        self._bar = progress_bar(title, len(missing), 0, "cell")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def started(self, task: Task) -> None:
        """Show a cell as being computed."""
        self._running[task.cell.name.rpartition("-")[0]] = time.monotonic()
        self._show()

    def finished(self, task: Task) -> None:
        """Count a cell as done, or as given up."""
        start = self._running.pop(task.cell.name.rpartition("-")[0], time.monotonic())
        self._taken.setdefault(kind(task), []).append(time.monotonic() - start)
        self._left.remove(kind(task))
        self._bar.update()
        self._show()

    @property
    def seconds_left(self) -> float | None:
        """Of the cells that are left; None while unknown."""
        if any(name not in self._taken for name in self._left):
            return None
        means = {name: sum(taken) / len(taken) for name, taken in self._taken.items()}
        total = sum(means[name] for name in self._left)
        return total / min(self._workers, max(len(self._left), 1))

    def _show(self) -> None:
        if self._bar.disable:
            return
        left = self.seconds_left
        time_left = "" if left is None else f"{left / 60:.0f} min left; "
        self._bar.set_postfix_str(time_left + ", ".join(self._running))


def kind(task: Task) -> str:
    """Cells of one kind take about the same time: encoder, train, wrong …"""
    return str(task.cell.depends.get("cell", task.cell.name.partition("-")[0]))
