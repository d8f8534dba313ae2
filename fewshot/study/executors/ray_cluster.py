"""A Ray cluster: cells on several machines."""

import os
import pickle
from pathlib import Path
from typing import Any

from fewshot.study.cells import Cells, Task
from fewshot.study.executors.base import Executor, refuse
from fewshot.study.executors.local import RETRIES, Plan
from fewshot.study.executors.progress import Progress
from guided.errors import InputError, importing
from guided.progress import PLAIN


class RayCluster(Executor):
    """Every cell is a Ray task; Ray orders them, places them and retries what a machine lost.

    Every machine must have the current folder, the run folder and the datasets by the same paths;
    the run folder must be on a disk that they share.

    Args:
        plan: makes the same plan in another process.
        address: of a running cluster; None: one is started on this machine.
        gpus: share of a card that each cell takes; 0: a core.
    """

    def __init__(self, plan: Plan, address: str | None = None, gpus: float = 0.0) -> None:
        self.plan, self.address, self.gpus = plan, address, gpus

    def run(self, cells: Cells, title: str) -> None:
        ray = _import()
        if not ray.is_initialized():
            heard = os.environ.get(PLAIN) != "silent"
            ray.init(self.address, log_to_driver=heard, logging_level="warning")
        missing = cells.missing
        compute = ray.remote(
            num_cpus=1, num_gpus=self.gpus, max_retries=RETRIES, retry_exceptions=False
        )(_compute)
        plan = ray.put(pickle.dumps((str(Path.cwd()), self.plan)))
        results: dict[str, Any] = {}
        tasks: dict[Any, Task] = {}
        for task in missing:
            digest = task.cell.digest
            needed = [results[other] for other in task.needed if other in results]
            results[digest] = compute.remote(plan, digest, *needed)
            tasks[results[digest]] = task
        failed: dict[str, str] = {}
        with Progress(title, missing, int(ray.cluster_resources().get("CPU", 1))) as progress:
            while tasks:
                at_once = min(len(tasks), AT_ONCE)
                done, _ = ray.wait(list(tasks), num_returns=at_once, timeout=1.0)
                for result in done:
                    task = tasks.pop(result)
                    why = _failure(ray, result)
                    if why is not None and why != NOT_TRIED:
                        failed[task.cell.name] = why
                    progress.finished(task)
        refuse(failed)


AT_ONCE = 256
"""Results collected at a time, so that long lists are looked through seldom."""

NOT_TRIED = "a cell that it needs was not computed"


def _import() -> Any:
    # Below `uv run`, Ray would build the whole environment anew for its workers: it is there.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    with importing("ray", "executor"):
        import ray
    return ray


def _failure(ray: Any, result: Any) -> str | None:
    """The reason for which a cell was not computed; None if it was."""
    try:
        answer: str | None = ray.get(result)
    except ray.exceptions.WorkerCrashedError:
        return f"its process died {RETRIES + 1} times (out of memory?)"
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]
    return answer


_planned: dict[bytes, Cells] = {}


def _compute(plan: bytes, digest: str, *needed: str | None) -> str | None:
    """Compute a cell in a worker; returns the reason if it cannot be."""
    if any(why is not None for why in needed):
        return NOT_TRIED
    os.environ[PLAIN] = "lines"
    try:
        if plan not in _planned:
            _planned.clear()
            folder, make = pickle.loads(plan)
            _enter(folder)
            _planned[plan] = make()
        _planned[plan].compute(digest)
    except InputError as error:
        return str(error)
    return None


def _enter(folder: str) -> None:
    """Go where the command was given, from which paths count that are not absolute."""
    try:
        os.chdir(folder)
    except OSError as error:
        machine = os.uname().nodename
        raise InputError(f"{folder}: not on {machine} ({error.strerror})") from error
