"""Lake's task with the encoders and learners of a study."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fewshot.data.dataset import Splits
from fewshot.study.cells import Cell, Cells
from fewshot.study.config import StudyConfig
from fewshot.study.executors import Executor
from fewshot.study.lake.classify import (
    check_checkpoints,
    plan_runs,
    read_answers,
    read_errors,
    row_key,
    twenty_way,
)
from fewshot.study.lake.report import LakeResult, write_lake_report
from fewshot.study.lake.runs import LakeRuns
from fewshot.study.outcome import Outcome
from fewshot.study.row_tests import RowTest
from fewshot.study.rows import Key
from fewshot.study.run import Study
from guided.progress import say as say_line


class LakeStudy:
    """Computes a study's trainings inside a run folder and classifies Lake's runs with them.

    Args:
        config: the study and, in a subclass, how the runs were chosen; stored with the result.
        splits: the dataset's banks.
        runs: the task: one or both of Lake's own runs and drawn ones.
        output: the run folder; cells of a finished study in it are reused.
        learners: names of those that classify; by default all that answer 20-way episodes.
        device: where to compute.
        say: receives one line after each training, and one for each learner left out.
        executor: computes the cells.

    Raises:
        InputError: no learner answers 20-way episodes, an encoder may have seen the test
            characters, or the study is impossible.
    """

    def __init__(
        self,
        config: StudyConfig,
        splits: Splits,
        runs: Sequence[LakeRuns],
        output: Path,
        *,
        learners: Sequence[str] | None = None,
        device: str = "cpu",
        say: Callable[[str], object] = say_line,
        executor: Executor | None = None,
    ) -> None:
        self.config, self.runs, self.output, self.device = config, runs, output, device
        self.learners = learners or twenty_way(config, say)
        self.study = Study(
            config,
            splits,
            output,
            learners=self.learners,
            device=device,
            say=say,
            executor=executor,
        )
        check_checkpoints(config, say)

    def result(self) -> LakeResult:
        """Compute what is missing and write the report."""
        outcome, answers = self.plan()
        self.study.compute(outcome)
        return write_lake_report(
            self.config,
            [read_answers(*pair) for pair in zip(self.runs, answers, strict=True)],
            self.output,
            choices=outcome.choices,
            cells=outcome.cells,
            device=self.device,
        )

    @property
    def cells(self) -> Cells:
        """The cells that are planned so far."""
        return self.study.cells

    @property
    def executor(self) -> Executor:
        """It computes the cells."""
        return self.study.executor

    def tests(self) -> list[RowTest]:
        """Each row with each of its seeds, planned."""
        return [
            RowTest(row_key(key, runs), key.seed, cell, partial(read_errors, cell))
            for runs, cells in zip(self.runs, self.plan()[1], strict=True)
            for key, cell in cells.items()
        ]

    def plan(self) -> tuple[Outcome, list[dict[Key, Cell]]]:
        """The trainings and choices of the study, and its answers to each kind of runs."""
        outcome = self.study.plan(tests=False)
        return outcome, [plan_runs(outcome, runs, self.device) for runs in self.runs]
