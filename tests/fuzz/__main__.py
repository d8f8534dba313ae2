"""``python tests/fuzz``: every reader on changed files; none may crash, hang, fill or write.

Files that are valid are changed at random, by a seed, and read in child processes under limits:
2 GB of memory above what the imports take, ten seconds an input, an audit of every file that is
opened for writing and every program that is started. An input fails when its reader raises anything
but :class:`InputError` (in one line), runs out of memory, or ends its process. Failing inputs are
saved; ``--again FILE`` reads one once more, in this process.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

sys.path.insert(0, str(Path(__file__).parents[2]))

from batches import MEMORY, SECONDS, Batch, attempt
from readers import Reader, readers

from fewshot.environment import hardware, versions

CORPUS = Path(__file__).with_name("corpus")
TURN = 3.0  # seconds of a reader before the next one has its turn


def main() -> int:
    """Run the command; 1 if an input failed."""
    parser = argparse.ArgumentParser("python tests/fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="files to read")
    parser.add_argument("--each", type=int, help="files for each reader, in place of --inputs")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    parser.add_argument("--only", nargs="+", help="names of readers")
    parser.add_argument("--failures", type=Path, default=Path("runs/fuzz"), help="folder for these")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--again", type=Path, help="a saved input, named <reader>-…")
    given = parser.parse_args()
    every = readers()
    if given.again:
        return _again(given.again, every)
    chosen = {name: every[name] for name in given.only or every}
    memory = Path("/dev/shm")  # files in memory take a third of the time
    box = Path(mkdtemp(prefix="fewshot-fuzz-", dir=memory if memory.is_dir() else None))
    try:
        figures, failed = _fuzz(chosen, given, box)
    finally:
        shutil.rmtree(box, ignore_errors=True)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if failed else 0


def _again(file: Path, every: dict[str, Reader]) -> int:
    reader = every[file.name.split("-")[0].replace("_", " ")]
    folder = Path(mkdtemp(prefix="fewshot-fuzz-"))
    fault = attempt(reader, file.read_bytes(), folder, show=True)
    shutil.rmtree(folder)
    print(fault or "no fault")
    return 1 if fault else 0


def _fuzz(chosen: dict[str, Reader], given: argparse.Namespace, box: Path) -> tuple[dict, int]:
    start = time.perf_counter()
    done, used, faults = Counter(), Counter(), Counter()
    batches = {
        name: Batch(name, reader, given.seed, box, corpus=CORPUS) for name, reader in chosen.items()
    }
    turn = min(TURN, given.seconds / 2 / len(chosen))
    while time.perf_counter() - start <= given.seconds:
        # The reader that has had the least time, or the fewest inputs.
        name = min(chosen, key=lambda name: (done if given.each else used)[name])
        left = given.each - done[name] if given.each else given.inputs - done.total()
        if left <= 0:
            break
        try:
            n, seconds, found = batches[name].run(left, turn)
        except KeyboardInterrupt:
            break
        done[name] += n
        used[name] += seconds
        for fault, content in found:
            faults[name, fault] += 1
            if faults[name, fault] == 1:
                given.failures.mkdir(parents=True, exist_ok=True)
                file = given.failures / f"{name.replace(' ', '_')}-{sum(map(ord, fault))}-{n}"
                file.write_bytes(content)
                print(f"{name}: {fault}: {file}", flush=True)
    seconds = time.perf_counter() - start
    figures = {
        "inputs": done.total(),
        "seconds": round(seconds),
        "inputs_per_second": round(done.total() / seconds),
        "config": {"seed": given.seed, "only": given.only, "output": None},
        "versions": versions(),
        "hardware": hardware("cpu"),
        "limits": {"seconds": SECONDS, "bytes": MEMORY},
        "readers": {name: done[name] for name in chosen},
        "faults": {f"{name}: {fault}": n for (name, fault), n in faults.items()},
    }
    print(
        f"{done.total():,} inputs to {len(chosen)} readers in {seconds:.0f} s "
        f"({figures['inputs_per_second']} a second): {faults.total()} faults"
    )
    return figures, faults.total()


if __name__ == "__main__":
    sys.exit(main())
