"""The study: arms × seeds × learners × settings, paired, in resumable cells."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fewshot.config import describe, made_by
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled_classes
from fewshot.evaluation import EpisodeErrors, episode_errors, table_for
from fewshot.learners.base import Learner
from fewshot.meta_train import meta_train
from fewshot.sampler import EpisodeSampler
from fewshot.study.arms import Arms
from fewshot.study.cells import Cell, foundation
from fewshot.study.config import ArmConfig, LearnerConfig, StudyConfig, is_meta_trained
from fewshot.study.diagnostics import diagnose, excited_slices
from fewshot.study.outcome import Outcome, load_learner
from guided.augment import Augmentation
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.files import write_arrays
from guided.seeds import derive_seed
from guided.training.state import progress_bar

FORMAT = 2  # part of every digest: raise it when the same configuration comes to mean new numbers


class Study:
    """Runs a study's cells inside a folder.

    Args:
        config: what to compare.
        splits: the dataset's banks.
        output: the run folder; cells go below ``cells``.
        device: where to compute.
        say: receives one line for each finished training.

    Raises:
        InputError: impossible episodes or settings, or latents that an arm will not have.
    """

    def __init__(
        self,
        config: StudyConfig,
        splits: Splits,
        output: Path,
        *,
        device: str = "cpu",
        say: Callable[[str], object] = tqdm.write,
    ) -> None:
        self.config, self.splits, self.output = config, splits, output
        self.device, self.say = device, say
        self.samplers = {
            setting: EpisodeSampler(
                splits.test, setting, derive_seed(config.episode_seed, "test", setting.label)
            )
            for setting in config.settings
        }
        self._foundation = foundation(FORMAT, config.dataset, splits, device)
        if config.precision != StudyConfig.precision:
            self._foundation["precision"] = config.precision
        self.arms = Arms(config, splits, output, self._foundation, device, say)
        self._embedded: tuple[tuple[Path, str, Augmentation | None], Tensor] | None = None
        # Attribute -> the latents that an arm excites for it.
        self._excited: dict[str, tuple[int, int]] = {}
        for learner in config.learners.values():
            if learner.train:
                if learner.train.tasks is None:
                    EpisodeSampler(splits.train, learner.train.setting, seed=0)
                EpisodeSampler(splits.validation, learner.train.validation, seed=0)
        for arm in config.arms.values():
            for seed in config.seeds if arm.checkpoint else config.seeds[:1]:
                self._check(arm, seed)

    def _check(self, arm: ArmConfig, seed: int) -> None:
        """Before anything is trained: do its network, its latents and its learners exist?"""
        untrained = self.arms.untrained(arm, seed)
        n_labelled = len(labelled_classes(self.splits.train, arm.labelled, seed=0))
        for latents, name in self._conditions(arm):
            learner = self.config.learners[name]
            made = learner.learner(untrained.select(latents))
            if learner.test_augmentation and made.reads_images:
                raise InputError(
                    f"learners.{name}.test_augmentation: {type(made).__name__} has no embedding "
                    "before an episode is known"
                )
            training = [learner.train.setting, learner.train.validation] if learner.train else []
            for setting in (*self.config.settings, *training):
                made.check_ways(setting.n_way)
            if training:
                made.check_classes(n_labelled)
            tasks = learner.train.tasks if learner.train else None
            if (
                tasks is not None
                and is_meta_trained(arm, learner)
                and made_by(tasks).needs_decoder
                and not (arm.encoder == "pretrained" and arm.elbo)
            ):
                raise InputError(
                    f"learners.{name}.train.tasks: {made_by(tasks).__name__} needs a decoder; an "
                    "arm has none that is not pretrained, or without the ELBO"
                )
            by_labels = learner.train is not None and tasks is None
            if by_labels and training[0].n_way > n_labelled:
                raise InputError(
                    f"labelled: {arm.labelled} of the training classes are {n_labelled}, "
                    f"too few for {training[0].n_way}-way training"
                )
        self._excited = excited_slices(untrained, self.splits.test) | self._excited

    def run(self) -> Outcome:
        """Compute, or find, every cell."""
        errors: list[EpisodeErrors] = []
        encoders: dict[tuple[str, int], Cell] = {}
        learners: dict[tuple[str, int, str, str], Cell] = {}
        diagnostics: list[dict[str, Any]] = []
        seconds = 0.0
        pairs = [(seed, name) for seed in self.config.seeds for name in self.config.arms]
        with progress_bar(self.config.study, len(pairs), 0, "encoder") as bar:
            for seed, name in pairs:
                arm = self.config.arms[name]
                encoder = encoders[name, seed] = self.arms.cell(name, arm, seed)
                seconds += encoder.facts["seconds"]
                for latents, learner in self._conditions(arm):
                    key = (name, seed, learner, latents)
                    trained = self._meta_trained(key, arm, encoder)
                    learners[key] = trained or encoder
                    cell = self._errors(key, learners[key])
                    errors += self._read_errors(cell, key)
                    seconds += cell.facts["seconds"]
                    seconds += trained.facts["seconds"] if trained else 0
                for latents, learner in self._conditions(arm):  # no training will go on from these
                    learners[name, seed, learner, latents].state_file.unlink(missing_ok=True)
                measured = self._diagnosis(name, seed, encoder)
                diagnostics += measured.facts["measurements"]
                seconds += measured.facts["seconds"]
                bar.update()
        return Outcome(errors, encoders, learners, diagnostics, seconds)

    def _conditions(self, arm: ArmConfig) -> Iterator[tuple[str, str]]:
        for latents in arm.latents:
            for learner in self.config.learners:
                yield latents, learner

    def _cell(self, name: str, depends: dict[str, Any]) -> Cell:
        return Cell.of(self.output / "cells", name, depends)

    def _log_folder(self, cell: Cell) -> Path:
        return self.output / "tensorboard" / cell.name

    def _meta_trained(
        self, key: tuple[str, int, str, str], arm: ArmConfig, encoder: Cell
    ) -> Cell | None:
        """The learner after meta-training; None for one that is only evaluated."""
        name, seed, learner_name, latents = key
        learner_name = self.config.trained_as(learner_name)
        learner = self.config.learners[learner_name]
        if learner.train is None or not is_meta_trained(arm, learner):
            return None
        depends: dict[str, Any] = {
            "cell": "train",
            "encoder": encoder.name,
            "latents": latents,
            "learner": learner.describe(),
        }
        by_labels = learner.train.tasks is None
        if arm.labelled < 1 and by_labels:
            depends |= {"labelled": arm.labelled, "seed": seed}
        cell = self._cell(f"train-{name}-seed{seed}-{latents}-{learner_name}", depends)
        if cell.done:
            return cell
        beginning = self.config.beginning_of(learner_name)
        shorter = None
        if beginning:
            shorter = self._meta_trained((name, seed, beginning, latents), arm, encoder)
        start = time.perf_counter()
        if shorter:
            cell.go_on_from(shorter)
        train = self.splits.train
        if arm.labelled < 1 and by_labels:
            train = train.classes(labelled_classes(train, arm.labelled, seed))
        trained = meta_train(
            learner.train,
            learner.learner,
            Encoder.load(encoder.encoder_file, latents),
            train,
            self.splits.validation,
            seed=seed,
            device=self.device,
            precision=self.config.precision,
            state_file=cell.state_file,
            log_folder=self._log_folder(cell),
            description=f"train {learner_name} on {name}, seed {seed}",
            decoder=self._decoder(encoder) if learner.train.tasks else None,
        )
        progress = trained.progress
        self.say(
            f"{learner_name} trained on {name}, seed {seed}: {progress.step} steps, kept step "
            f"{progress.best_step} (error {progress.best_score:.2f} on the validation classes)"
        )
        trained.encoder.save(cell.encoder_file, **depends)
        trained.learner.save(cell.learner_file)
        has_longer = any(self.config.beginning_of(n) == learner_name for n in self.config.learners)
        cell.finish(start, keep_state=has_longer, history=progress.history)
        return cell

    def _decoder(self, encoder: Cell) -> Decoder | None:
        """The VAE's other half, for tasks that it draws."""
        if not encoder.decoder_file.exists():
            return None
        return Decoder.load(encoder.decoder_file, Encoder.load(encoder.encoder_file))

    def _errors(self, key: tuple[str, int, str, str], source: Cell) -> Cell:
        name, seed, learner_name, latents = key
        learner: LearnerConfig = self.config.learners[learner_name]
        depends = {
            "cell": "errors",
            "encoder": source.name,
            "latents": latents,
            **learner.describe_tested(),
            "settings": describe(self.config.settings),
            "episodes": self.config.episodes,
            "episode_seed": self.config.episode_seed,
        }
        cell = self._cell(f"errors-{name}-seed{seed}-{latents}-{learner_name}", depends)
        if not cell.done:
            start = time.perf_counter()
            model = load_learner(learner, source, latents).to(self.device)
            table = self._test_table(source, latents, model)
            errors = {
                setting.label: episode_errors(model, table, sampler, self.config.episodes)
                for setting, sampler in self.samplers.items()
            }
            arrays = {label: values.numpy() for label, values in errors.items()}
            write_arrays(cell.folder / "errors.npz", arrays)
            cell.finish(start)
        return cell

    def _test_table(self, source: Cell, latents: str, learner: Learner) -> Tensor:
        """What test episodes are gathered from; embeddings are kept, for the arm's next learner."""
        if learner.reads_images:
            return table_for(learner, self.splits.test, self.device)
        wanted = (source.folder, latents, learner.views)
        if self._embedded is None or self._embedded[0] != wanted:
            self._embedded = wanted, table_for(learner, self.splits.test, self.device)
        return self._embedded[1]

    def _read_errors(self, cell: Cell, key: tuple[str, int, str, str]) -> list[EpisodeErrors]:
        name, seed, learner, latents = key
        with np.load(cell.folder / "errors.npz") as stored:
            return [
                EpisodeErrors(
                    torch.from_numpy(stored[setting.label]), setting, name, seed, learner, latents
                )
                for setting in self.config.settings
            ]

    def _diagnosis(self, name: str, seed: int, encoder: Cell) -> Cell:
        depends = {"cell": "diagnosis", "encoder": encoder.name, "slices": describe(self._excited)}
        cell = self._cell(f"diagnosis-{name}-seed{seed}", depends)
        if not cell.done:
            start = time.perf_counter()
            measurements = diagnose(
                Encoder.load(encoder.encoder_file), self.splits.test, self._excited, self.device
            )
            labelled_by = {"arm": name, "seed": seed}
            cell.finish(start, measurements=[labelled_by | entry for entry in measurements])
        return cell
