"""Worker processes on this machine."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from tqdm.auto import tqdm

from fewshot.study.cells import Cells, Task
from fewshot.study.executors.base import Executor, Queue, refuse
from fewshot.study.executors.origin import worker_context
from fewshot.study.executors.progress import Progress
from guided.errors import InputError
from guided.malloc import reuse_memory
from guided.progress import PLAIN

RETRIES = 2
VISIBLE = "CUDA_VISIBLE_DEVICES"
Plan = Callable[[], Cells]
"""Makes the plan; picklable."""


class Local(Executor):
    """A pool of processes, each of which computes one cell at a time.

    Every process makes the plan itself and is then told digests. A process that dies is replaced,
    and its cell is tried again, from the state of its last validation.

    Args:
        plan: makes the same plan in another process.
        workers: number of processes.
        cards: GPUs, which they take in turn; with two or more, each worker sees one alone.
    """

    def __init__(self, plan: Plan, workers: int, cards: int = 0) -> None:
        self.plan, self.workers, self.cards = plan, workers, cards

    def run(self, cells: Cells, title: str) -> None:
        missing = cells.missing
        queue = Queue(missing)
        n_workers = min(self.workers, len(missing))
        workers = [_Worker(self.plan, _card(i, self.cards)) for i in range(n_workers)]
        deaths: dict[str, int] = {}
        try:
            with Progress(title, missing, len(workers)) as progress:
                while queue.left:
                    for worker in workers:
                        if worker.task is None and (task := queue.take()):
                            progress.started(task)
                            worker.start(task)
                    running = [worker.future for worker in workers if worker.future]
                    done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                    progress.tick()
                    for worker in workers:
                        if worker.future in done:
                            _collect(worker, queue, progress, deaths)
        finally:
            for worker in workers:
                worker.stop()
        refuse(queue.failed)


class _Worker:
    """One process; replaced when it dies.

    A pool for each: when a process dies, ``concurrent.futures`` gives up all processes of its pool.
    """

    def __init__(self, plan: Plan, card: str | None) -> None:
        self._plan, self._card = plan, card
        self._pool = self._new_pool()
        self.task: Task | None = None
        self.future: Future[None] | None = None

    def _new_pool(self) -> ProcessPoolExecutor:
        given = self._plan, self._card, _plain()
        return ProcessPoolExecutor(1, worker_context(), _prepare, given)

    def start(self, task: Task) -> None:
        self.task, self.future = task, self._pool.submit(_compute, task.cell.digest)

    def free(self) -> Task:
        """The task that ended."""
        assert self.task is not None
        task, self.task, self.future = self.task, None, None
        return task

    def replace(self) -> None:
        """A new process for one that died."""
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()

    def stop(self) -> None:
        """End the process; if it computes, at once: what it did since a validation is lost."""
        for process in list((self._pool._processes or {}).values()) if self.task else ():
            with suppress(OSError):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _collect(worker: _Worker, queue: Queue, progress: Progress, deaths: dict[str, int]) -> None:
    """Enter the end of a worker's task: done, failed, or died and to be tried again."""
    future, task = worker.future, worker.free()
    assert future is not None
    try:
        future.result()
    except BrokenProcessPool:
        worker.replace()
        name = task.cell.name
        deaths[name] = deaths.get(name, 0) + 1
        if deaths[name] <= RETRIES:
            worker.start(task)
            return
        queue.fail(task, f"its process died {deaths[name]} times (out of memory?)")
    except InputError as error:
        queue.fail(task, str(error))
    else:
        queue.finished(task)
    progress.finished(task)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; else it would stay for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_cells: Cells | InputError | None = None
"""The plan of this process, or why there is none."""


def _card(worker: int, cards: int) -> str | None:
    """The name of a worker's card; None: all that this process sees."""
    if cards < 2:
        return None
    visible = os.environ.get(VISIBLE)
    names = visible.split(",") if visible else [str(card) for card in range(cards)]
    return names[worker % cards]


def _plain() -> str:
    """The form in which a worker tells of its progress, beside the bar of this process."""
    if (chosen := os.environ.get(PLAIN)) in ("silent", "lines"):
        return chosen
    return "lines" if chosen == "verbose" or not sys.stderr.isatty() else "quiet"


def _prepare(plan: Plan, card: str | None, plain: str) -> None:
    """Make the plan in a new process."""
    if card is not None:
        os.environ[VISIBLE] = card  # CUDA reads it at its first use, which is still to come
    # Ctrl-C reaches every process of a terminal; the one that started the workers ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ[PLAIN] = plain
    # Its own lock is one between processes, which a process that is ended cannot give back.
    tqdm.set_lock(threading.RLock())
    reuse_memory()
    global _cells
    try:
        _cells = plan()
    except InputError as error:  # told with the first cell; here it would look like a crash
        _cells = error


def _compute(digest: str) -> None:
    if isinstance(_cells, InputError):
        raise _cells
    assert _cells is not None
    _cells.compute(digest)
