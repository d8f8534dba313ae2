"""Progress of all workers in one place."""

import time
from collections import Counter
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
        self._left = Counter(kind(task) for task in missing)
        self._done: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
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
        name = kind(task)
        self._done[name] += 1
        self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - start
        self._left[name] -= 1
        self._bar.update()
        self._show()

    @property
    def seconds_left(self) -> float | None:
        """Of the cells that are left; None while unknown."""
        left = {name: n for name, n in self._left.items() if n}
        if any(not self._done[name] for name in left):
            return None
        total = sum(n * self._seconds[name] / self._done[name] for name, n in left.items())
        return total / min(self._workers, max(sum(left.values()), 1))

    def _show(self) -> None:
        if self._bar.disable:
            return
        left = self.seconds_left
        time_left = "" if left is None else f"{left / 60:.0f} min left; "
        self._bar.set_postfix_str(time_left + ", ".join(self._running))


def kind(task: Task) -> str:
    """Cells of one kind take about the same time: encoder, train, wrong …"""
    return str(task.cell.depends.get("cell", task.cell.name.partition("-")[0]))
