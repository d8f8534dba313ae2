"""Everything that the page shows of one comparison, read from its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fewshot.statistics import Errors
from fewshot.study.cell_index import CellIndex
from fewshot.study.counts import Counts
from fewshot.study.outcome import LearningCurve
from fewshot.study.result import StudyResult
from fewshot.study.rows import ResultRow, RowKey
from fewshot.study.scores import percent


@dataclass(frozen=True, eq=False)
class Content:
    """One comparison.

    Attributes:
        result: its rows and facts.
        counts: its wrong answers; None where errors of single episodes are not shown.
        index: which cell holds what; None where cells are not at hand.
        file: the result's file.
    """

    result: StudyResult
    counts: Counts | None
    index: CellIndex | None
    file: Path

    @classmethod
    def load(cls, source: Path) -> "Content":
        """Read a run folder, or a result's file.

        Raises:
            InputError: there is no finished comparison, or its counts are missing.
        """
        file = source / StudyResult.file_name if source.is_dir() else source
        in_run = file.name == StudyResult.file_name
        return cls(
            StudyResult.load(file),
            StudyResult.load_counts(file),
            CellIndex.load(file.parent) if in_run else None,
            file,
        )

    @classmethod
    def of(cls, result: StudyResult) -> "Content":
        """A result in memory, with what its run folder holds beside it, if it has one."""
        folder = result.output
        index = CellIndex.load(folder) if folder else None
        return cls(result, None, index, (folder or Path()) / result.file_name)

    @property
    def rows(self) -> tuple[ResultRow, ...]:
        """One a condition."""
        return self.result.rows

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration as plain values; empty for results that hold none."""
        config: Mapping[str, Any] = self.result.facts.get("config", {})
        return config

    @cached_property
    def arms(self) -> list[str]:
        """Names in the order of the study, of all that is known of."""
        encoders = self.index.encoders if self.index else ()
        names = [row.arm for row in self.rows]
        names += [entry.arm for entry in self.result.diagnostics]
        return list(dict.fromkeys([*names, *(cell.arm for cell in encoders)]))

    @cached_property
    def learners(self) -> list[str]:
        """Names in the order of the study."""
        return list(dict.fromkeys(row.learner for row in self.rows))

    @cached_property
    def errors(self) -> dict[RowKey, Errors]:
        """Percent, ``[seeds, episodes]``, by the rows' keys."""
        assert self.counts is not None
        return percent(self.rows, self.counts)

    def rows_of(self, learner: str) -> list[ResultRow]:
        """One learner's rows."""
        return [row for row in self.rows if row.learner == learner]

    @cached_property
    def curves(self) -> list[LearningCurve]:
        """Of the encoders that were pretrained."""
        if self.index is None:
            return []
        elbo = {name: arm.get("elbo", True) for name, arm in self.config.get("arms", {}).items()}
        found = [
            LearningCurve(
                cell.arm, cell.seed, cell.facts.get("history", []), elbo.get(cell.arm, True)
            )
            for cell in self.index.encoders
        ]
        return [curve for curve in found if curve.history]

    @cached_property
    def trainings(self) -> dict[str, list[LearningCurve]]:
        """Learner -> its meta-trainings; one that others use too, under the first."""
        found: dict[str, list[LearningCurve]] = {}
        seen: set[Path] = set()
        for cell in self.index.trainings if self.index else ():
            history = cell.facts.get("history", [])
            if history and cell.learner and cell.folder not in seen:
                seen.add(cell.folder)
                latents = cell.latents or "all"
                curve = LearningCurve(cell.arm, cell.seed, history, elbo=False, latents=latents)
                found.setdefault(cell.learner, []).append(curve)
        return found
