"""``fewshot select``: which encoder of a study to take, without labels, and how good that is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from fewshot.commands.common import ImageCommand, StudyCommand
from fewshot.commands.replay import recorded_study
from fewshot.commands.report import kind_of
from fewshot.config import describe, parse
from fewshot.environment import choose_device
from fewshot.printing import paint, width
from fewshot.runs import only_one
from fewshot.study.cells import Cells
from fewshot.study.counts import Counts
from fewshot.study.executors import Executor
from fewshot.study.recorded import recorded
from fewshot.study.result import StudyResult, provenance, read_result
from fewshot.study.run import Study
from fewshot.study.select.candidates import find_candidates
from fewshot.study.select.report import shown, write_selection
from fewshot.study.select.run import SelectStudy
from guided.errors import InputError
from guided.ranges import Range, Whole
from guided.storage.temporary import sweep


@dataclass(frozen=True, kw_only=True)
class SelectCommand(ImageCommand, StudyCommand):
    """Rank the pretrained encoders of finished comparisons without labels.

    By their agreement with each other (UDR and ModelCentrality) and by their ELBO; then see what
    few-shot error, and what scores against ground-truth factors, each choice would have had, and
    how well all of these scores order encoders by their few-shot error.

    Args:
        runs: run folders of comparisons, of the same images and episodes.
        images: of the training classes, that UDR encodes.
        votes: of ModelCentrality, for each latent that carries information, 16 of them at most;
            480 over all encoders, 5 to 20 with each, if not given.
        seed: of all that is drawn.
        output: folder to write to; select in the first run folder if not given. Scores that are
            there are not computed again.
    """

    runs: list[Path]
    images: Annotated[int, Range(10)] = 1000
    votes: Annotated[int, Range(3)] | None = None
    seed: Whole = 0

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("runs: name at least one run folder")
        if len({run.resolve() for run in self.runs}) < len(self.runs):
            raise InputError("runs: a run folder is named twice")

    @property
    def folder(self) -> Path:
        """The folder to write to."""
        return self.output or self.runs[0] / "select"


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    command = parse(SelectCommand, arguments, "fewshot select", words="runs")
    device = choose_device(command.device)
    executor = command.executor_of(partial(select_plan, command, device), device)
    studies = [_read(run, command) for run in command.runs]
    study = _prepared(command, studies, device, executor)
    facts = {
        "study": studies[0][0].config.study,
        "dataset": describe(studies[0][0].config.dataset),
        **provenance(command, device),
    }
    with only_one(command.folder):
        sweep(command.folder)
        selection = study.run(list(map(str, command.runs)), facts)
        write_selection(selection, command.folder)
    print(f"\n{shown(selection, width(), paint())}")
    seconds, page = time.perf_counter() - start, command.folder / "select.html"
    print(f"\n{seconds:.0f} s; everything on one page: {page}")


def select_plan(command: SelectCommand, device: str) -> Cells:
    """The planned cells of a selection, made anew in a worker."""
    study = _prepared(command, [_read(run, command) for run in command.runs], device)
    study.plan()
    return study.cells


Read = tuple[Study, StudyResult, Counts]


def _prepared(
    command: SelectCommand, studies: Sequence[Read], device: str, executor: Executor | None = None
) -> SelectStudy:
    splits = studies[0][0].splits
    return SelectStudy(
        find_candidates(studies, command.seed),
        splits.train,
        splits.test,
        command.folder,
        seed=command.seed,
        n_images=command.images,
        votes=command.votes,
        device=device,
        executor=executor,
    )


def _read(run: Path, command: SelectCommand) -> Read:
    if not run.is_dir():
        raise InputError(f"runs: {run}: no such run folder")
    file = run / StudyResult.file_name
    with recorded(file):
        if kind_of(read_result(file)) is not StudyResult:
            raise InputError(f"runs: {run} is no comparison, whose encoders are selected from")
        result = StudyResult.load(file)
        trained_on = result.facts.get("hardware", {}).get("device", "cpu")
    study = recorded_study(result, file, run, trained_on, command.data_root)
    return study, result, StudyResult.load_counts(file)
