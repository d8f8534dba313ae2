"""Cost of computing 10,000 cells that do nothing, and of planning 100,000.

    uv run benchmarks/scale.py

Each measurement has a process and a fresh folder of its own. A cell's overhead is the time from the
first finished cell to the last, by their files, over their number, less a worker's share of the
sleep; what comes before the first cell (starting workers, importing torch, making the plan in each)
is shown beside it. ``files`` is what writing one cell takes in this process, with nothing else; the
overhead holds it, shared among the workers. Memory is that of the process which hands out the
cells, at its peak, and how much of it came after the imports.

Goals: 5 ms a cell on one machine, 20 ms with Ray, 10 s for the plan.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, time

from _sleep import plan
from _timing import print_table

from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.data import data_root
from fewshot.study.cells import Cells
from fewshot.study.executors import Executor, Local, Serial
from fewshot.study.run import Study

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
PARTS = ("planning", "serial", "local", "ray")


def peak() -> float:
    """Memory of this process at its highest, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def planning(arguments: argparse.Namespace, folder: Path) -> None:
    """Two plans: cells that sleep, and the quickstart's study with very many seeds."""
    study = quickstart(folder, arguments.planned)

    def whole() -> Cells:
        study.plan()
        return study.cells

    rows = []
    plans = {"sleep": partial(plan, folder, arguments.planned, 0.0), "quickstart": whole}
    for name, make in plans.items():
        before, start = peak(), perf_counter()
        cells = make()
        seconds, used = perf_counter() - start, peak()
        start = perf_counter()
        rows.append((name, len(cells.missing), seconds, perf_counter() - start, used - before))
    header = ("planning", "cells", "s to plan", "s to see what is missing", "MB of these")
    print_table(header, rows)


def quickstart(folder: Path, n_cells: int) -> Study:
    """The quickstart's study with so many seeds that it has about as many cells."""
    config = load(CompareConfig, CONFIG, {"seeds": list(range(10))})
    splits = config.dataset(data_root()).splits()
    ten = Study(config, splits, folder)
    ten.plan()
    seeds = list(range(10 * n_cells // len(ten.cells.tasks)))
    return Study(replace(config, seeds=seeds), splits, folder)


def computing(arguments: argparse.Namespace, folder: Path) -> None:
    """One executor: seconds before the first cell, and for each after it."""
    n, workers = arguments.cells, 1 if arguments.part == "serial" else arguments.workers
    make = partial(plan, folder / "run", n, arguments.sleep)
    files = writing(folder)
    before, cells, start = peak(), make(), time()
    executor(arguments.part, make, workers).run(cells, arguments.part)
    seconds, used = time() - start, peak()
    ends = sorted((task.cell.folder / "cell.json").stat().st_mtime for task in cells.tasks.values())
    each = 1000 * ((ends[-1] - ends[0]) / (n - 1) - arguments.sleep / workers)
    again = perf_counter()
    assert not make().missing
    again = perf_counter() - again
    header = ("ms a cell", "cells", "workers", "overhead", "files", "s to the first", "s in all")
    row = (arguments.part, n, workers, each, files, ends[0] - start, seconds)
    print_table(
        (*header, "s to plan again", "MB", "of these new"), [(*row, again, used, used - before)]
    )


def writing(folder: Path, n: int = 500) -> float:
    """Milliseconds in which this process writes a finished cell."""
    cells = plan(folder / "files", n, 0.0)
    start = perf_counter()
    for task in cells.tasks.values():
        task.cell.finish(0.0, {})
    return 1000 * (perf_counter() - start) / n


def executor(part: str, make: partial[Cells], workers: int) -> Executor:
    if part == "serial":
        return Serial()
    if part == "local":
        return Local(make, workers)
    import ray

    from fewshot.study.executors.ray_cluster import RayCluster

    ray.init(num_cpus=workers, logging_level="error", include_dashboard=False)
    return RayCluster(make)


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of executors and of plans.")
    parser.add_argument("part", nargs="?", choices=PARTS, help="one measurement; all if not given")
    parser.add_argument("--cells", type=int, default=10_000, help="that are computed")
    parser.add_argument("--planned", type=int, default=100_000, help="cells that are only planned")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds in each cell")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.part is None:
        for part in PARTS:
            subprocess.run([sys.executable, __file__, part, *sys.argv[1:]], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        (planning if arguments.part == "planning" else computing)(arguments, Path(folder))


if __name__ == "__main__":
    main()
