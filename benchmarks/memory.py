"""Memory of a study's workers, which share one copy of the images.

    uv run benchmarks/memory.py --dataset.init_args.size=84         # miniImageNet, eight workers
    uv run benchmarks/memory.py configs/quickstart.yaml --workers 2

Runs a study in a fresh run folder, with other keys if given, and looks at its processes twice a
second. Proportional set size (PSS) counts a page that n processes share as 1/n of a page in each:
the PSS of all processes is the memory that they take together. Resident set size (RSS) counts it
once in each.

The last line is the ratio of the summed RSS to the summed PSS where the latter was largest: by how
much sharing has reduced the memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import print_table

CONFIG = Path(__file__).parent.parent / "configs" / "mini_imagenet" / "compare_cpu.yaml"
MIB = 1024  # of the kernel's kilobytes


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for process in found:
        try:
            tasks = Path(f"/proc/{process}/task").glob("*/children")
            found += [int(child) for path in tasks for child in path.read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def memory(pid: int) -> tuple[int, int, int]:
    """PSS, RSS and the PSS of mapped files of a process, in kilobytes; zeros if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Pss"], sizes["Rss"], sizes["Pss_File"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a study's workers.")
    parser.add_argument("config", type=Path, nargs="?", default=CONFIG)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=180, help="the study is then stopped")
    arguments, keys = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fewshot.cli", "compare", str(arguments.config)]
        command += ["--workers", str(arguments.workers), "--output", folder, *keys]
        study = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end, seen = time.monotonic() + arguments.seconds, []
        while study.poll() is None and time.monotonic() < end:
            each = [memory(pid) for pid in descendants(study.pid)]
            seen.append((sum(pss for pss, *_ in each), each))
            time.sleep(0.5)
        study.terminate()
        study.wait()
        if study.returncode not in (0, 130, -15):
            raise RuntimeError(f"the study failed: {os.fspath(arguments.config)}")
    total, each = max(seen)
    resident = sum(rss for _, rss, _ in each)
    print_table(
        (f"{arguments.config.stem}, {arguments.workers} workers", "MiB", "of a process"),
        [
            ("all processes, PSS", total / MIB, max(pss for pss, *_ in each) / MIB),
            ("of it mapped files", sum(f for *_, f in each) / MIB, max(f for *_, f in each) / MIB),
            ("all processes, RSS", resident / MIB, max(rss for _, rss, _ in each) / MIB),
        ],
    )
    print(f"{len(each)} processes")
    print(f"ratio {resident / total:.2f}")


if __name__ == "__main__":
    main()
