"""The finds of a run in its folder: finished trainings, and states that are continued."""

from collections.abc import Iterator

import torch

from fewshot.study.cells import Cell, Cells

KINDS = {"encoder": "encoders", "model": "encoders", "train": "meta-trainings"}
"""Kind of cells -> what they hold."""


def reuse(cells: Cells) -> str:
    """One line: how many trainings are reused, and where others continue; empty if neither."""
    tasks = [task for task in cells.tasks.values() if _kind(task.cell) in KINDS]
    held = list(dict.fromkeys(KINDS[_kind(task.cell)] for task in tasks))
    said = []
    for name in held:
        of_name = [task.cell for task in tasks if KINDS[_kind(task.cell)] == name]
        if done := sum(cell.done for cell in of_name):
            said.append(f"{done} of {len(of_name)} {name}")
    begun = [task.cell for task in tasks if not task.cell.done]
    parts = [f"reused {' and '.join(said)}"] if said else []
    return "; ".join([*parts, *_continued(begun)])


def _kind(cell: Cell) -> str:
    return str(cell.depends.get("cell"))


def _continued(cells: list[Cell]) -> Iterator[str]:
    for cell in cells:
        if not cell.state_file.exists():
            continue
        name = cell.name.rpartition("-")[0].partition("-")[2].replace("-seed", "/seed")
        # A damaged one was removed when the cell was planned.
        state = torch.load(cell.state_file, map_location="cpu", mmap=True, weights_only=True)
        yield f"{name} continues at step {state['progress']['step']}"
