"""A plan of cells that only sleep, for :mod:`scale`; worker processes import it."""

import time
from functools import partial
from pathlib import Path

from fewshot.config import describe
from fewshot.study.cells import Cell, Cells
from guided.training.config import PretrainConfig

GROUP = 10  # an encoder and the nine cells that need it


def plan(folder: Path, n_cells: int, seconds: float) -> Cells:
    """So many cells below a folder, in the shape of a study and with facts as long as a study's."""
    cells, work = Cells(folder), partial(sleep, seconds)
    pretrain = describe(PretrainConfig(), full=True)
    for i in range(n_cells):
        if i % GROUP == 0:
            depends = {"cell": "encoder", "seed": i, "pretrain": pretrain}
            encoder = cells.plan(f"encoder-seed{i}", depends, work)
        else:
            depends = {"cell": "wrong", "learner": i % GROUP, "episodes": 1000}
            cells.plan(f"wrong-seed{i}", depends, work, needs={"source": encoder})
    return cells


def sleep(seconds: float, cell: Cell) -> None:
    """The work of every cell."""
    time.sleep(seconds)
