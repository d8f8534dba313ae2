"""``fewshot select``: which encoder of a study to take, without labels, and how good that is."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fewshot.commands.common import Command
from fewshot.commands.replay import recorded_study
from fewshot.commands.report import kind_of
from fewshot.config import parse
from fewshot.environment import choose_device
from fewshot.study.config import ArmConfig
from fewshot.study.counts import Counts
from fewshot.study.result import StudyResult, read_result
from fewshot.study.run import Study
from fewshot.study.select.candidates import find_candidates
from fewshot.study.select.report import shown, write_selection
from fewshot.study.select.selection import select
from guided.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SelectCommand(Command):
    """Rank the pretrained encoders of finished comparisons without labels.

    By their agreement with each other (UDR and ModelCentrality) and by their ELBO; then see what
    few-shot error, and what scores against ground-truth factors, each choice would have had.

    Args:
        runs: run folders of comparisons, of the same images and episodes.
        images: of the training classes, that UDR encodes.
        votes: of ModelCentrality, for each latent that carries information, 16 of them at most.
        seed: of all that is drawn.
        output: folder to write to; select in the first run folder if not given.
    """

    runs: list[Path]
    images: int = 1000
    votes: int = 20
    seed: int = 0
    output: Path | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("runs: name at least one run folder")
        if len({run.resolve() for run in self.runs}) < len(self.runs):
            raise InputError("runs: a run folder is named twice")
        for key, least in (("images", 10), ("votes", 3), ("seed", 0)):
            if getattr(self, key) < least:
                raise InputError(f"{key}: expected at least {least}, got {getattr(self, key)}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    named = list(takewhile(lambda word: not word.startswith("-"), arguments))
    # A JSON list of texts is a YAML one.
    given = ["--runs", json.dumps(named)] if named else []
    command = parse(SelectCommand, [*given, *arguments[len(named) :]], "fewshot select")
    device = choose_device(command.device)
    studies = [_read(run, command) for run in command.runs]
    found = find_candidates(studies)
    splits, arms = studies[0][0].splits, studies[0][0].arms
    selection = select(
        tuple(map(str, command.runs)),
        found,
        splits.train,
        splits.test,
        arms.untrained(ArmConfig(encoder="random"), command.seed),
        seed=command.seed,
        n_images=command.images,
        votes=command.votes,
        device=device,
    )
    output = command.output or command.runs[0] / "select"
    write_selection(selection, output)
    print(f"\n{shown(selection)}")
    print(f"\n{time.perf_counter() - start:.0f} s; select.html, tables and figure in {output}")


def _read(run: Path, command: SelectCommand) -> tuple[Study, StudyResult, Counts]:
    if not run.is_dir():
        raise InputError(f"runs: {run}: no such run folder")
    file = run / StudyResult.file_name
    if kind_of(read_result(file)) is not StudyResult:
        raise InputError(f"runs: {run} is no comparison, whose encoders are selected from")
    result = StudyResult.load(file)
    trained_on = result.facts.get("hardware", {}).get("device", "cpu")
    study = recorded_study(result, file, run, trained_on, command.data_root)
    return study, result, StudyResult.load_counts(file)
