"""Seconds of the quickstart study: two worker processes against one process of two threads.

    uv run benchmarks/study.py

Each is the command as a user types it, in a process and a fresh run folder of its own: starting,
importing and writing the report count. A short run that does not count draws the images and leaves
compiled modules behind, as on any machine that has run the command before. They take turns;
medians.

One worker and two, each cell on one thread, must count the same wrong queries in every episode,
to the byte. One process of two threads need not: sums of two threads differ in their last bits.

The last line is the ratio of the seconds of one process of two threads to those of two workers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from _timing import print_table

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
PROCESS, ONE, TWO = "one process, two threads", "one worker, one thread", "two workers, one thread"
ARGUMENTS = {
    PROCESS: ["--executor", "serial", "--threads", "2"],
    ONE: ["--workers", "1"],
    TWO: ["--workers", "2"],
}


def run(arguments: list[str]) -> tuple[float, bytes]:
    """Seconds of a study, and the file of its counts.

    Raises:
        CalledProcessError: the command failed; its messages are shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fewshot.cli", "compare", str(CONFIG), "--output", folder]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        start = perf_counter()
        subprocess.run(
            [*command, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
        )
        return perf_counter() - start, (Path(folder) / "episodes.npz").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="A study in workers, against one process.")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of each pretraining; for a short trial")
    parser.add_argument("--seeds", type=int, help="number of seeds; for a short trial")
    arguments = parser.parse_args()
    smaller = ["--device", "cpu"]
    if arguments.steps:
        smaller += ["--pretrain.steps", str(arguments.steps)]
    if arguments.seeds:
        smaller += ["--seeds", str(list(range(arguments.seeds)))]
    run(["--device", "cpu", "--pretrain.steps", "1", "--seeds", "[0]"])
    taken: dict[str, list[float]] = {name: [] for name in ARGUMENTS}
    counts: dict[str, bytes] = {}
    for _ in range(arguments.repeats):
        for name, chosen in ARGUMENTS.items():
            seconds, counts[name] = run([*chosen, *smaller])
            taken[name].append(seconds)
        if counts[ONE] != counts[TWO]:
            raise RuntimeError("episodes.npz: one worker and two count different wrong queries")
    seconds = {name: median(each) for name, each in taken.items()}
    cores = len(os.sched_getaffinity(0))
    print_table(
        (f"quickstart, {cores} cores", "s", "ratio"),
        [(name, each, seconds[PROCESS] / each) for name, each in seconds.items()],
    )
    print(f"ratio {seconds[PROCESS] / seconds[TWO]:.2f}")


if __name__ == "__main__":
    main()
