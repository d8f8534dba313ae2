"""Faults to every command, counted: ``python -m tests.faults --faults 500``.

Each fault is a function of its number: what was done before, in the folder ``--work``, is not done
again. Prints a table, and writes it as JSON.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot.environment import hardware, versions
from fewshot.printing import columns
from guided.storage.files import write_json
from tests.faults.kinds import KINDS, Trial, Undisturbed
from tests.faults.points import Points
from tests.faults.processes import run, warm
from tests.faults.subjects import SHARES, SUBJECTS, numbers


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Attributes:
        number: of the fault.
        kind: of it.
        command: that it happened to.
        detail: of what happened, and where.
        reached: false if the command had ended before.
        problems: what should not be.
        seconds: of both runs.
    """

    number: int
    kind: str
    command: str
    detail: str
    reached: bool
    problems: list[str]
    seconds: float


def undisturbed(names: Sequence[str], folder: Path) -> list[Undisturbed]:
    """Run each command twice without faults, which must agree."""
    found = []
    for name in names:
        subject = SUBJECTS[name]
        start, finished = folder / f"{name}-start", folder / f"{name}-finished"
        subject.prepare(start)
        if subject.prepared_by:
            _in_order(run(subject.prepared_by, start).status, f"{name}'s preparation")
        shutil.copytree(start, finished)
        modules = folder / "modules"
        _in_order(run(subject.arguments, finished, modules=modules).status, name)
        warm(modules.read_text().split())
        again, note = folder / f"{name}-again", folder / "points"
        shutil.copytree(start, again)
        ended = run(subject.arguments, again, points=Points(-1, "", note))
        _in_order(ended.status, name)
        expected = numbers(finished / "run")
        assert expected
        assert numbers(again / "run") == expected, f"{name}: two runs differ"
        size = sum(path.stat().st_size for path in again.rglob("*") if path.is_file())
        size -= sum(path.stat().st_size for path in start.rglob("*") if path.is_file())
        shutil.rmtree(again)
        n_points = int(note.read_text())
        found.append(Undisturbed(subject, start, finished, expected, n_points, ended.seconds, size))
        print(f"{name}: {n_points} points, {ended.seconds:.1f} s", flush=True)
    return found


def _in_order(status: int, name: str) -> None:
    if status:
        sys.exit(f"{name}: status {status} without a fault")


def one(number: int, bases: Sequence[Undisturbed], kinds: Sequence[str], folder: Path) -> Outcome:
    """Let a fault happen; which, is a function of its number."""
    dice = random.Random(number)
    kind = dice.choices(kinds, [KINDS[name][1] for name in kinds])[0]
    base = dice.choices(bases, [SHARES[base.subject.name] for base in bases])[0]
    work, start = folder / "work", time.monotonic()
    shutil.rmtree(work, ignore_errors=True)
    trial = Trial(base, work, dice)
    KINDS[kind][0](trial)
    return Outcome(
        number,
        kind,
        base.subject.name,
        trial.detail,
        trial.reached,
        trial.problems,
        round(time.monotonic() - start, 2),
    )


def can_mount(folder: Path) -> bool:
    """True where a small disk can be made."""
    place = folder / "disk"
    if (folder / "work").is_mount():  # of a harness that was killed
        subprocess.run(["umount", str(folder / "work")], check=False)
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
    except OSError:
        return False
    subprocess.run(["umount", str(place)], check=True)
    return True


def summary(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A line for each kind of fault: how many, how many in time, how many with a problem."""
    lines = []
    for kind in KINDS:
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        if mine:
            lines.append(
                {
                    "kind": kind,
                    "faults": len(mine),
                    "in time": sum(outcome.reached for outcome in mine),
                    "with a problem": sum(bool(outcome.problems) for outcome in mine),
                }
            )
    return lines


def main() -> int:
    """Run it; the status is 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--minutes", type=float, default=600, help="begin none after so many")
    parser.add_argument("--commands", default=",".join(SUBJECTS))
    parser.add_argument("--kinds", default=",".join(KINDS), help="parts of their names")
    parser.add_argument("--work", type=Path, default=Path("/tmp/fewshot-faults"))
    parser.add_argument("--output", type=Path, default=Path("runs/published/faults.json"))
    given = parser.parse_args()
    begun, names = time.monotonic(), given.commands.split(",")
    folder = given.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in KINDS if any(part in kind for part in given.kinds.split(","))]
    if not can_mount(folder):
        kinds = [kind for kind in kinds if kind != "the disk is full"]
        print("no small disk can be mounted: that kind is left out")
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    warm()
    bases_folder = folder / "bases"
    shutil.rmtree(bases_folder, ignore_errors=True)
    bases_folder.mkdir()
    bases = undisturbed(names, bases_folder)
    log = folder / "faults.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    outcomes = {entry["number"]: Outcome(**entry) for entry in map(json.loads, lines)}
    for number in range(given.first, given.first + given.faults):
        if number in outcomes:
            continue
        if time.monotonic() - begun > 60 * given.minutes:
            break
        outcome = outcomes[number] = one(number, bases, kinds, folder)
        with log.open("a") as file:
            print(json.dumps(asdict(outcome)), file=file)
        for problem in outcome.problems:
            print(f"{number} {outcome.command}, {outcome.kind}, {outcome.detail}: {problem}")
            sys.stdout.flush()
    config = {"faults": given.faults, "first": given.first, "commands": names, "kinds": kinds}
    return _finish(list(outcomes.values()), bases, config, given.output)


def _finish(
    outcomes: Sequence[Outcome],
    bases: Sequence[Undisturbed],
    config: Mapping[str, Any],
    output: Path,
) -> int:
    table = summary(outcomes)
    points = [
        {
            "command": base.subject.name,
            "operations": base.points,
            "faults": sum(outcome.command == base.subject.name for outcome in outcomes),
        }
        for base in bases
    ]
    content = {
        "faults": len(outcomes),
        "in_time": sum(outcome.reached for outcome in outcomes),
        "problems": [asdict(outcome) for outcome in outcomes if outcome.problems],
        "seconds": round(sum(outcome.seconds for outcome in outcomes)),
        "kinds": table,
        "commands": points,
        "config": {**config, "output": None},
        "versions": versions(),
        "hardware": hardware("cpu"),
    }
    write_json(output, content)
    head = list(table[0])
    print("\n".join(columns(head, [list(map(str, line.values())) for line in table], 100)))
    print(f"{len(outcomes)} faults, {len(content['problems'])} with a problem; {output}")
    return int(bool(content["problems"]))


if __name__ == "__main__":
    sys.exit(main())
