"""``fewshot evaluate --replay``: one row of a study computed again, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewshot.commands.common import ImageCommand
from fewshot.commands.compare import CompareConfig
from fewshot.commands.report import kind_of
from fewshot.config import load, parse
from fewshot.data.checks import read_splits
from fewshot.data.roots import data_root
from fewshot.environment import choose_device
from fewshot.episodes import Setting
from fewshot.study.counts import Counts, Wrong
from fewshot.study.recorded import recorded
from fewshot.study.result import StudyResult, read_result
from fewshot.study.rows import ResultRow
from fewshot.study.run import Study
from fewshot.study.text import arm_label, span, ways_and_shots
from guided.errors import InputError
from guided.ranges import Whole

ROUNDING = 1e-4
"""Errors are stored with four decimals."""


@dataclass(frozen=True, kw_only=True)
class ReplayCommand(ImageCommand):
    """Compute one row of a comparison again, and compare it with what is on file.

    The encoders and learners are those of the study's run folder; what is missing there is trained
    again, in that folder or in ``output``.

    Args:
        replay: results.json of a run folder, the folder, or a published JSON file.
        row: position of the row in it, from 0.
        output: another folder than the study's; runs/replay/<study> if that has no cells.
    """

    replay: Path
    row: Whole
    output: Path | None = None


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    command = parse(ReplayCommand, arguments, "fewshot evaluate --replay")
    if command.replay.is_dir():
        command = replace(command, replay=command.replay / StudyResult.file_name)
    with recorded(command.replay):
        if kind_of(read_result(command.replay)) is not StudyResult:
            raise InputError(
                f"replay: {command.replay} is no comparison; only its rows are replayed"
            )
        result = StudyResult.load(command.replay)
        counts = StudyResult.load_counts(command.replay)
    if not 0 <= command.row < len(result.rows):
        raise InputError(
            f"row: expected 0 to {len(result.rows) - 1}, the rows of {command.replay}, "
            f"got {command.row}"
        )
    row = result.rows[command.row]
    stored = _counts_of(row, counts, command.replay)
    print(f"row {command.row}: {arm_label(row)}, {row.learner}, {ways_and_shots(row)}")
    study = _study(command, result)
    wrong = study.recompute(
        row.arm, row.learner, row.latents, Setting(row.n_way, row.n_shot, row.n_query)
    )
    print(_compared(row, wrong, stored, command.replay))


def _study(command: ReplayCommand, result: StudyResult) -> Study:
    # Other devices compute other cells, and not quite the same counts.
    on_cpu = result.facts.get("hardware", {}).get("device") == "cpu"
    device = choose_device("cpu" if on_cpu and command.device == "auto" else command.device)
    folder = command.output or command.replay.parent
    if not command.output and not (folder / "cells").is_dir():
        folder = Path("runs") / "replay" / result.study
    return recorded_study(result, command.replay, folder, device, command.data_root)


def recorded_study(
    result: StudyResult, file: Path, folder: Path, device: str, roots: Path | None
) -> Study:
    """The study that a result is of, planned from the configuration in it.

    Args:
        result: of the study.
        file: that it was read from.
        folder: whose cells are used.
        device: where cells are, or were, computed.
        roots: of the datasets; those of the configuration if not given.

    Raises:
        InputError: the result holds no configuration.
    """
    if "config" not in result.facts:
        raise InputError(f"{file}: holds no configuration to compute its rows from")
    config = load(CompareConfig, result.facts["config"])
    splits = read_splits(config.dataset(data_root(roots or config.data_root)))[0]
    return Study(replace(config, output=folder), splits, folder, device=device)


def _counts_of(row: ResultRow, counts: Counts, file: Path) -> Wrong:
    """The counts on file of a row, ``[seeds, episodes]``.

    Raises:
        InputError: there are none, or they are not those of the row's error.
    """
    name, expected = "|".join(row.key), (len(row.seeds), row.episodes)
    stored = counts.wrong.get(row.key)
    if stored is None or stored.shape != expected:
        raise InputError(f"{file}: its counts have no {name} of {expected} seeds and episodes")
    error = _error(row, stored)
    if abs(error - row.error) > ROUNDING:
        raise InputError(f"{file}: its row has the error {row.error} %, its counts {error:.4f}")
    return stored


def _error(row: ResultRow, wrong: Wrong) -> float:
    return 100 * float(wrong.mean()) / (row.n_way * row.n_query)


def _compared(row: ResultRow, wrong: Wrong, stored: Wrong, file: Path) -> str:
    """A sentence on the row computed again beside the one on file.

    Raises:
        InputError: the new error is outside the interval on file.
    """
    error = _error(row, wrong)
    if np.array_equal(wrong, stored):
        return f"error {error:.2f} %: the same in all {wrong.size} episodes"
    differ = f"other counts in {int((wrong != stored).sum())} of {wrong.size} episodes"
    beside = f"{error:.2f} % now, {row.error:.2f} % (95 % {span(row.error_ci95)}) on file"
    low, high = row.error_ci95 or (row.error, row.error)
    if not low <= error <= high:
        raise InputError(f"{file}: error {beside}; {differ}")
    return f"error {beside}, within its interval; {differ}"
