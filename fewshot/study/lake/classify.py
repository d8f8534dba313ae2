"""A study's encoders and learners on Lake's one-shot classification task."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fewshot.config import made_by, settings_of
from fewshot.data.dataset import Dataset
from fewshot.data.omniglot.dataset import Omniglot
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import CHUNK_IMAGES, EpisodeErrors
from fewshot.learners.base import Learner
from fewshot.study.cells import Cell
from fewshot.study.config import LearnerConfig, StudyConfig
from fewshot.study.lake.runs import N_CHARACTERS, LakeRuns
from fewshot.study.outcome import Outcome, load_learner
from guided.encoder import provenance
from guided.errors import InputError
from guided.files import write_arrays

SETTING = Setting(n_way=N_CHARACTERS, n_shot=1, n_query=1)

Key = tuple[str, int, str, str]
"""(arm, seed, learner, latents)."""


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
            f"tests, expected lake"
        )
    if dataset.rotations in ("test", "all"):
        raise InputError(
            f"Omniglot.rotations: {dataset.rotations} turns test characters, Lake's task has them "
            f"upright: expected none or train"
        )
    return dataset


def check_checkpoints(config: StudyConfig, say: Callable[[str], object] = tqdm.write) -> None:
    """Refuse encoders from files that say that they saw more of Omniglot than its background.

    Args:
        config: whose arms' files exist.
        say: receives a line for each arm whose file does not say what it was trained on.

    Raises:
        InputError: names the arm and the split.
    """
    for name, arm in config.arms.items():
        files = {arm.checkpoint_file(seed) for seed in config.seeds} if arm.checkpoint else set()
        for file in sorted(files):
            facts = provenance(file)
            dataset = facts.get("dataset") or facts.get("config", {}).get("dataset")
            if dataset is None:
                say(f"{name}: {file} does not say on which characters it was trained")
                continue
            split = dataset.get("init_args", {}).get("split", "lake")
            if dataset["class_path"] == "Omniglot" and split != "lake":
                raise InputError(
                    f"arms.{name}.checkpoint: {file} was trained on Omniglot's split "
                    f"{split}, with characters that Lake's task tests"
                )


def twenty_way(config: StudyConfig, say: Callable[[str], object] = tqdm.write) -> list[str]:
    """The learners that answer 20-way episodes; says which are left out.

    Raises:
        InputError: none does.
    """
    kept = []
    for name, learner in config.learners.items():
        n_way = settings_of(learner.learner).get("n_way") or N_CHARACTERS
        if n_way == N_CHARACTERS:
            kept.append(name)
        else:
            made = made_by(learner.learner).__name__
            say(f"{name}: left out, {made}.n_way is {n_way}, Lake's task is {N_CHARACTERS}-way")
    if not kept:
        raise InputError(f"learners: none answers {N_CHARACTERS}-way episodes, as Lake's task asks")
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
    """What every learner took the test images for.

    Attributes:
        predicted: for each key the positions ``[R, 20]``; right is 0, 1 … 19.
        seconds: of classifying, those of earlier runs included.
    """

    predicted: dict[Key, NDArray[np.int64]]
    seconds: float

    def errors(self) -> list[EpisodeErrors]:
        """Each run's error in percent, ``[R]`` for each key."""
        return [
            EpisodeErrors(
                torch.from_numpy(100 * (predicted != np.arange(N_CHARACTERS)).mean(1, np.float32)),
                SETTING,
                arm,
                seed,
                learner,
                latents,
            )
            for (arm, seed, learner, latents), predicted in self.predicted.items()
        ]


def classify(
    config: StudyConfig,
    outcome: Outcome,
    learners: list[str],
    runs: LakeRuns,
    output: Path,
    device: str = "cpu",
) -> Classified:
    """Classify the runs with every encoder and learner of a finished study, in resumable cells.

    Args:
        config: of the study.
        outcome: what it computed.
        learners: those to use.
        runs: the task.
        output: the study's folder.
        device: where to compute.
    """
    predicted, seconds = {}, 0.0
    for key, source in outcome.learners.items():
        if key[2] not in learners:
            continue
        cell = _cell(config.learners[key[2]], key, source, runs, output, device)
        with np.load(cell.folder / "predicted.npz") as stored:
            predicted[key] = stored["predicted"]
        seconds += cell.facts["seconds"]
    return Classified(predicted, seconds)


def _cell(
    learner: LearnerConfig, key: Key, source: Cell, runs: LakeRuns, output: Path, device: str
) -> Cell:
    name, seed, learner_name, latents = key
    depends = {
        "cell": "lake",
        "encoder": source.name,
        "latents": latents,
        **learner.describe_tested(),
        "images": runs.digest,
    }
    cell = Cell.of(output / "cells", f"lake-{name}-seed{seed}-{latents}-{learner_name}", depends)
    if not cell.done:
        start = time.perf_counter()
        model = load_learner(learner, source, latents).to(device)
        predicted = predicted_classes(model, runs.episodes, device)
        write_arrays(cell.folder / "predicted.npz", {"predicted": predicted})
        cell.finish(start)
    return cell
