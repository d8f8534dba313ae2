"""Progress of all workers in one place."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Self

from fewshot.study.cells import Task
from guided.progress import progress_bar


class Progress:
    """A bar over the missing cells: those being computed, and the time that is left.

    A cell that is left is taken for the mean of those that have finished for its arm, or else for
    the longest mean of its kind in another arm: an untrained encoder says nothing of a trained
    one. Their sum is shared among the workers; unknown until each kind has finished a cell.

    Args:
        title: of the bar.
        missing: the tasks.
        workers: that compute at once.
    """

    def __init__(self, title: str, missing: Sequence[Task], workers: int) -> None:
        self._workers = workers
        self._left = Counter(map(group, missing))
        self._done: Counter[Group] = Counter()
        self._seconds: defaultdict[Group, float] = defaultdict(float)
        self._running: dict[str, float] = {}
        self._bar = progress_bar(title, len(missing), 0, "cell", CELLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def started(self, task: Task) -> None:
        """Show a cell as being computed."""
        self._running[task.cell.name.rpartition("-")[0]] = time.monotonic()
        self._show()

    def finished(self, task: Task) -> None:
        """Count a cell as done, or as given up; its time counts if its start was told."""
        start = self._running.pop(task.cell.name.rpartition("-")[0], None)
        of = group(task)
        if start is not None:
            self._done[of] += 1
            self._seconds[of] += time.monotonic() - start
        self._left[of] -= 1
        self._bar.update()
        self._show()

    @property
    def seconds_left(self) -> float | None:
        """Of the cells that are left; None while unknown."""
        means = {of: self._seconds[of] / n for of, n in self._done.items()}
        total = 0.0
        for of, n in self._left.items():
            mean = means.get(of, max((m for o, m in means.items() if o[0] == of[0]), default=None))
            if n and mean is None:
                return None
            total += n * (mean or 0)
        return total / min(self._workers, max(self._left.total(), 1))

    def _show(self) -> None:
        left = self.seconds_left
        time_left = [] if left is None else [f"{_minutes(left)} left"]
        self._bar.show([*time_left, *self._running])

    def tick(self) -> None:
        """Show the time that has passed."""
        self._bar.refresh()


CELLS = "{desc}: {n_fmt}/{total_fmt} cells |{bar}| [{elapsed}{postfix}]"
"""Without tqdm's own estimate, which takes all cells for alike."""

Group = tuple[str, str]
"""A kind of cells, and an arm."""


def group(task: Task) -> Group:
    """Cells of one kind (encoder, train, wrong …) and arm take about the same time."""
    arm = task.cell.name.partition("-seed")[0]
    return str(task.cell.depends.get("cell", arm.partition("-")[0])), arm


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
