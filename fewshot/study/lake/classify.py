"""A study's encoders and learners on Lake's one-shot classification task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.config import class_name, made_by, settings_of, short_name
from fewshot.data.dataset import Dataset
from fewshot.data.omniglot.dataset import Omniglot
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import CHUNK_IMAGES
from fewshot.learners.base import Learner
from fewshot.statistics import Errors
from fewshot.study.cells import Cell, Cells
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Wrong
from fewshot.study.lake.runs import N_CHARACTERS, LakeRuns
from fewshot.study.outcome import Outcome, Subject
from fewshot.study.rows import Key, RowKey
from guided.encoder import provenance
from guided.errors import InputError
from guided.progress import say as say_line
from guided.storage.files import read_arrays, write_arrays

SETTING = Setting(n_way=N_CHARACTERS, n_shot=1, n_query=1)


def check_dataset(dataset: Dataset) -> Omniglot:
    """Refuse data with which the evaluation characters could have been trained on.

    Raises:
        InputError: not Omniglot, not Lake's split, or test characters that are turned.
    """
    if not isinstance(dataset, Omniglot):
        raise InputError(f"dataset: Lake's task needs Omniglot, got {type(dataset).__name__}")
    if dataset.split != "lake":
        raise InputError(
            f"Omniglot.split: {dataset.split} trains on some of the characters that Lake's task "
            "tests, expected lake"
        )
    if dataset.rotations in ("test", "all"):
        raise InputError(
            f"Omniglot.rotations: {dataset.rotations} turns test characters, but Lake's task shows "
            "them upright: expected none or train"
        )
    return dataset


def check_checkpoints(config: StudyConfig, say: Callable[[str], object] = say_line) -> None:
    """Refuse encoders from files that record training on more of Omniglot than its background.

    Args:
        config: whose arms' files exist.
        say: receives a line for each file that does not record what it was trained on.

    Raises:
        InputError: names the arm and the split.
    """
    for name, arm in config.arms.items():
        files = {arm.checkpoint_file(seed) for seed in config.seeds} if arm.checkpoint else set()
        for file in sorted(files):
            facts = provenance(file)
            dataset = facts.get("dataset") or facts.get("config", {}).get("dataset")
            if dataset is None:
                say(f"{name}: {file} does not record on which characters it was trained")
            elif dataset["class_path"] in (class_name(Omniglot), short_name(Omniglot)):
                split = dataset.get("init_args", {}).get("split", settings_of(Omniglot)["split"])
                if split != "lake":
                    raise InputError(
                        f"arms.{name}.checkpoint: {file} was trained on Omniglot's split {split}, "
                        "with characters that Lake's task tests"
                    )


def twenty_way(config: StudyConfig, say: Callable[[str], object] = say_line) -> list[str]:
    """Return the learners that answer 20-way episodes, and report those left out.

    Raises:
        InputError: none does.
    """
    kept = []
    for name, learner in config.learners.items():
        n_way = settings_of(learner.learner).get("n_way")
        if n_way in (None, N_CHARACTERS):
            kept.append(name)
        else:
            made = made_by(learner.learner).__name__
            say(f"{name}: left out, {made}.n_way is {n_way}, Lake's task is {N_CHARACTERS}-way")
    if not kept:
        raise InputError(
            f"learners: none answers {N_CHARACTERS}-way episodes, which Lake's task needs"
        )
    return kept


@torch.no_grad()
def predicted_classes(
    learner: Learner, runs: Episodes, device: torch.device | str = "cpu"
) -> NDArray[np.int64]:
    """The position of the training image that each test image is taken for, ``[R, 20]``.

    Args:
        learner: is put into evaluation mode.
        runs: images; see :class:`LakeRuns`.
        device: where the learner is.
    """
    learner.eval()
    chunk = max(1, CHUNK_IMAGES // (2 * runs.n_way))
    parts = zip(runs.support.split(chunk), runs.query.split(chunk), strict=True)
    return np.concatenate(
        [
            learner.logits(Episodes(*part).to(torch.device(device))).argmax(2).cpu().numpy()
            for part in parts
        ]
    )


@dataclass(frozen=True)
class Classified:
    """Answers of every learner to all runs of one kind.

    Attributes:
        runs: the task.
        predicted: for each key the positions ``[R, 20]``; right is 0, 1 … 19.
    """

    runs: LakeRuns
    predicted: dict[Key, NDArray[np.int64]]

    @property
    def wrong(self) -> dict[RowKey, Wrong]:
        """1 for each wrong answer, ``[seeds, runs, 20]`` by the key of the row."""
        found: dict[RowKey, list[NDArray[np.bool_]]] = {}
        for key, predicted in self.predicted.items():
            found.setdefault(row_key(key, self.runs), []).append(_wrong(predicted))
        return {key: np.stack(seeds).astype(np.uint8) for key, seeds in found.items()}


def row_key(key: Key, runs: LakeRuns) -> RowKey:
    """The key of the row that a learner's answers to some runs belong to."""
    return key.arm, key.learner, key.latents, SETTING.label, runs.source


def _wrong(predicted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for each wrong answer, ``[R, 20]``."""
    return predicted != np.arange(N_CHARACTERS)


def plan_runs(outcome: Outcome, runs: LakeRuns, device: str = "cpu") -> dict[Key, Cell]:
    """The cells of the answers to the runs, by every encoder and learner of a planned study.

    Args:
        outcome: the planned cells of a study.
        runs: the task.
        device: where to compute.
    """
    return {
        key: _classified(key, subject, runs, outcome.cells, device)
        for key, subject in outcome.learners.items()
    }


def read_answers(runs: LakeRuns, cells: Mapping[Key, Cell]) -> Classified:
    """The answers to runs in finished cells."""
    return Classified(runs, {key: _predicted(cell) for key, cell in cells.items()})


def read_errors(cell: Cell) -> Errors:
    """Percent, of each trial in a finished cell."""
    return 100.0 * _wrong(_predicted(cell)).ravel()


def _predicted(cell: Cell) -> NDArray[np.int64]:
    return read_arrays(cell.folder / "predicted.npz")["predicted"]


def _classified(key: Key, subject: Subject, runs: LakeRuns, cells: Cells, device: str) -> Cell:
    depends = {"cell": "lake", **subject.depends, "images": runs.digest}

    def work(cell: Cell) -> None:
        predicted = predicted_classes(subject.load().to(device), runs.episodes, device)
        write_arrays(cell.folder / "predicted.npz", {"predicted": predicted})

    name = f"lake-{runs.source}-{key.arm}-seed{key.seed}-{key.latents}-{key.learner}"
    return cells.plan(name, depends, work, needs=subject.needs)
