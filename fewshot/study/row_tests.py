"""Rows of a study, seed by seed, and the cells that they are read from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fewshot.statistics import Errors
from fewshot.study.cells import Cell, Cells
from fewshot.study.executors import Executor
from fewshot.study.rows import RowKey


@dataclass(frozen=True)
class RowTest:
    """One row of a study with one of its seeds.

    Attributes:
        key: of the row.
        seed: one of the row's.
        cell: holds the answers; others of the study may be in it.
        read: gives the row's values from the finished cell, ``[units]``: of each test episode,
            trial or image the error in percent; in a study of nonlinear ICA one score.
    """

    key: RowKey
    seed: int
    cell: Cell
    read: Callable[[], Errors]


class StudyOfRows(Protocol):
    """A study whose rows can be computed one by one."""

    @property
    def cells(self) -> Cells:
        """The cells that are planned so far."""

    @property
    def executor(self) -> Executor:
        """It computes the cells."""

    def tests(self) -> Sequence[RowTest]:
        """Each row with each of its seeds, planned."""
