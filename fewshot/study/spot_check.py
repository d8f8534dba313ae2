"""Some rows of a study, each with one of its seeds, drawn to be computed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from fewshot.study.agreement import Values
from fewshot.study.cells import Cells, Task
from fewshot.study.costs import Cost
from fewshot.study.row_tests import RowTest, StudyOfRows
from fewshot.study.rows import RowKey
from guided.errors import InputError
from guided.seeds import derive_seed

TRAINED = ("learned", "features")
"""Kinds of cells that train and keep no logs."""


@dataclass(frozen=True)
class Chosen:
    """Tests that were drawn, and the plan of what they need.

    Attributes:
        tests: in the order of the study.
        part: their cells, and all that these need.
        n_tests: of the whole study.
        n_trainings: that are left to compute for them.
        n_all_trainings: of the whole study.
        unknown: rows on file that the study does not make here.
        minutes: that these trainings took, estimated from what is on file; None if nothing is.
    """

    tests: tuple[RowTest, ...]
    part: Cells
    n_tests: int
    n_trainings: int
    n_all_trainings: int
    minutes: float | None
    unknown: tuple[RowKey, ...] = ()


def drawn(
    study: StudyOfRows,
    rows: Mapping[RowKey, Values],
    n: int,
    seed: int,
    costs: Sequence[Cost] = (),
    seconds: float | None = None,
) -> Chosen:
    """Draw tests at random, of those on file, and plan them.

    Args:
        study: planned here.
        rows: on file; those without values are not drawn.
        n: number of tests; all if there are fewer.
        seed: of the draw.
        costs: of the study's encoders, as far as they were recorded.
        seconds: that the whole study took; None if not recorded.

    Raises:
        InputError: none of the study's rows is on file.
    """
    known = {(key, of) for key, row in rows.items() if row.values is not None for of in row.seeds}
    every = study.tests()
    tests = [test for test in every if (test.key, test.seed) in known]
    if not tests:
        raise InputError("no row of its configuration is among its rows")
    rng = np.random.default_rng(derive_seed(seed, "check"))
    places = sorted(rng.choice(len(tests), min(n, len(tests)), replace=False).tolist())
    chosen = tuple(tests[place] for place in places)
    part = study.cells.part(test.cell for test in chosen)
    left = [task for task in part.missing if _trains(task)]
    everything = [task for task in study.cells.tasks.values() if _trains(task)]
    minutes = _minutes(left, len(everything), costs, seconds)
    unknown = tuple(sorted(set(rows) - {test.key for test in every}))
    return Chosen(chosen, part, len(tests), len(left), len(everything), minutes, unknown)


def _trains(task: Task) -> bool:
    return bool(task.cell.log) or task.cell.depends.get("cell") in TRAINED


def _minutes(
    left: list[Task], n_all: int, costs: Sequence[Cost], seconds: float | None
) -> float | None:
    """By the recorded cost of each encoder, else an equal share of all that the study took."""
    if costs:
        spent = {
            f"encoder-{cost.arm}-seed{cost.seed}": cost.processor_seconds or cost.seconds
            for cost in costs
        }
        usual = fmean(spent.values())
        names = [task.cell.name.rpartition("-")[0] for task in left]
        return sum(spent.get(name, usual) for name in names) / 60
    return None if seconds is None else seconds * len(left) / max(n_all, 1) / 60
