"""The study: arms × seeds × learners × settings, paired, in resumable cells."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fewshot.config import describe, made_by
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled_classes
from fewshot.episodes import Setting
from fewshot.evaluation import table_for, wrong_queries
from fewshot.learners.base import Learner
from fewshot.meta_train import meta_train
from fewshot.sampler import EpisodeSampler
from fewshot.study.arms import Arms
from fewshot.study.cells import Cell, Cells, foundation
from fewshot.study.config import ArmConfig, LearnerConfig, StudyConfig, is_meta_trained
from fewshot.study.counts import EpisodeList, smallest
from fewshot.study.diagnostics import diagnose, excited_slices, measures_in_use
from fewshot.study.executors import Executor, Serial
from fewshot.study.outcome import Answers, Outcome, load_learner
from fewshot.study.report import write_report
from fewshot.study.result import StudyResult
from fewshot.study.rows import Key
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.errors import InputError
from guided.files import write_arrays, write_figure
from guided.seeds import derive_seed

FORMAT = 4  # part of every digest: raise it when the same configuration comes to mean new numbers


class Study:
    """Computes a study's cells inside a run folder.

    Args:
        config: what to compare.
        splits: the dataset's banks.
        output: the run folder; cells go below its folder ``cells``.
        device: where to compute.
        say: receives one line after each training.
        executor: computes the cells.

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
        executor: Executor | None = None,
    ) -> None:
        self.config, self.splits, self.output = config, splits, output
        self.device, self.say = device, say
        self.executor = executor or Serial()
        self.cells = Cells(output, config.threads)
        self.samplers = {
            setting: EpisodeSampler(splits.test, setting, self._test_seed(setting))
            for setting in config.settings
        }
        shared = foundation(FORMAT, config.dataset, splits, device, config.threads)
        if config.precision != StudyConfig.precision:
            shared["precision"] = config.precision
        self._settings = describe(config.settings)
        self.arms = Arms(config, splits, self.cells, output, shared, device, say)
        self._embedded: tuple[tuple[Hashable, ...], Tensor] | None = None
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
        """Build the arm's network and learners once, before anything is trained."""
        untrained = self.arms.untrained(arm, seed)
        n_labelled = len(labelled_classes(self.splits.train, arm.labelled, seed=0))
        for latents, name in self._conditions(arm):
            learner = self.config.learners[name]
            made = learner.learner(untrained.select(latents))
            if learner.test_augmentation and made.reads_images:
                raise InputError(
                    f"learners.{name}.test_augmentation: {type(made).__name__} computes no "
                    "embedding before it has seen the episode"
                )
            training = [learner.train.setting, learner.train.validation] if learner.train else []
            for setting in (*self.config.settings, *training):
                made.check_ways(setting.n_way)
            if learner.train:
                made.check_classes(n_labelled)
                self._check_tasks(arm, name, learner)
            by_labels = learner.train is not None and learner.train.tasks is None
            if by_labels and training[0].n_way > n_labelled:
                raise InputError(
                    f"labelled: {arm.labelled} of the training classes are {n_labelled}, "
                    f"too few for {training[0].n_way}-way training"
                )
        self._excited = excited_slices(untrained, self.splits.test) | self._excited

    def _check_tasks(self, arm: ArmConfig, name: str, learner: LearnerConfig) -> None:
        tasks = learner.train.tasks if learner.train else None
        decoded = tasks is not None and made_by(tasks).needs_decoder
        has_decoder = arm.encoder == "pretrained" and arm.elbo
        if decoded and is_meta_trained(arm, learner) and not has_decoder:
            raise InputError(
                f"learners.{name}.train.tasks: {made_by(tasks).__name__} needs a decoder; only an "
                "arm that is pretrained with the ELBO has one"
            )

    def result(self) -> StudyResult:
        """Compute what is missing and write the report."""
        outcome = self.run()
        return write_report(
            self.config, outcome, self.episode_lists(), self.splits, self.output, self.device
        )

    def episode_lists(self) -> dict[str, EpisodeList]:
        """The test episodes of each setting, by its label."""
        return {
            setting.label: EpisodeList(
                self._test_seed(setting), sampler.classes(0, self.config.episodes)
            )
            for setting, sampler in self.samplers.items()
        }

    def _test_seed(self, setting: Setting) -> int:
        return derive_seed(self.config.episode_seed, "test", setting.label)

    def run(self) -> Outcome:
        """Compute every cell that is not finished yet."""
        return self.compute(self.plan())

    def compute(self, planned: Outcome) -> Outcome:
        """Compute every planned cell that is not finished yet."""
        self.executor.run(self.cells, self.config.study)
        for cell in planned.learners.values():  # no training continues from these any more
            cell.state_file.unlink(missing_ok=True)
        return planned

    def plan(self) -> Outcome:
        """The cells of the study, each after all that it needs."""
        planned = Outcome(self.config, self.cells)
        for seed in self.config.seeds:
            for name in self.config.arms:
                self._plan_arm(name, seed, planned)
        return planned

    def _plan_arm(self, name: str, seed: int, planned: Outcome) -> None:
        arm = self.config.arms[name]
        encoder = planned.encoders[name, seed] = self.arms.cell(name, arm, seed)
        for latents, learner in self._conditions(arm):
            key = Key(name, seed, learner, latents)
            source = planned.learners[key] = self._meta_trained(key, arm, encoder) or encoder
            planned.tested[key] = self._wrong(key, source)
            if name not in planned.answers:
                planned.answers[name] = self._answers(key, source)
        planned.diagnoses[name, seed] = self._diagnosis(name, seed, encoder)

    def recompute(
        self, arm: str, learner: str, latents: str, setting: Setting
    ) -> NDArray[np.unsignedinteger]:
        """Numbers of wrong queries ``[seeds, episodes]`` of one row, computed anew.

        From the encoders and learners in the run folder, where they are; else these are trained.
        """
        keys = [Key(arm, seed, learner, latents) for seed in self.config.seeds]
        sources = []
        for key in keys:
            encoder = self.arms.cell(arm, self.config.arms[arm], key.seed)
            sources.append(self._meta_trained(key, self.config.arms[arm], encoder) or encoder)
        self.executor.run(self.cells, self.config.study)
        pairs = zip(keys, sources, strict=True)
        return np.stack([self._tested(key, source, [setting])[setting] for key, source in pairs])

    def _conditions(self, arm: ArmConfig) -> Iterator[tuple[str, str]]:
        """Yield (latents, learner's name)."""
        for latents in arm.latents:
            for learner in self.config.learners:
                yield latents, learner

    def _meta_trained(self, key: Key, arm: ArmConfig, encoder: Cell) -> Cell | None:
        """The cell of the meta-trained learner; None for one that is only evaluated."""
        name = self.config.trained_as(key.learner)
        learner = self.config.learners[name]
        if learner.train is None or not is_meta_trained(arm, learner):
            return None
        depends: dict[str, Any] = {
            "cell": "train",
            "latents": key.latents,
            "learner": learner.training,
        }
        if arm.labelled < 1 and learner.train.tasks is None:
            depends |= {"labelled": arm.labelled, "seed": key.seed}
        shorter = self.config.beginning_of(name)
        return self.cells.plan(
            f"train-{key.arm}-seed{key.seed}-{key.latents}-{name}",
            depends,
            lambda cell: self._meta_train(key._replace(learner=name), cell, encoder),
            needs={"encoder": encoder},
            start_from=(
                self._meta_trained(key._replace(learner=shorter), arm, encoder) if shorter else None
            ),
            keep_state=any(self.config.beginning_of(n) == name for n in self.config.learners),
        )

    def _meta_train(self, key: Key, cell: Cell, encoder: Cell) -> dict[str, Any]:
        learner, arm = self.config.learners[key.learner], self.config.arms[key.arm]
        assert learner.train is not None
        train = self.splits.train
        if arm.labelled < 1 and learner.train.tasks is None:
            train = train.classes(labelled_classes(train, arm.labelled, key.seed))
        trained = meta_train(
            learner.train,
            learner.learner,
            Encoder.load(encoder.encoder_file, key.latents),
            train,
            self.splits.validation,
            seed=key.seed,
            device=self.device,
            precision=self.config.precision,
            state_file=cell.state_file,
            log_folder=self.output / "tensorboard" / cell.name,
            description=f"train {key.learner} on {key.arm}, seed {key.seed}",
            decoder=_decoder(encoder) if learner.train.tasks else None,
        )
        progress = trained.progress
        self.say(
            f"{key.learner} trained on {key.arm}, seed {key.seed}: {progress.step} steps, kept "
            f"step {progress.best_step} (error {progress.best_score:.2f} % on the validation "
            "classes)"
        )
        trained.encoder.save(cell.encoder_file, **cell.depends)
        trained.learner.save(cell.learner_file)
        return {"history": progress.history}

    def _wrong(self, key: Key, source: Cell) -> Cell:
        """The cell of the numbers of wrong queries in all test episodes."""
        learner = self.config.learners[key.learner]
        depends = {
            "cell": "wrong",
            "latents": key.latents,
            **learner.testing,
            "settings": self._settings,
            "episodes": self.config.episodes,
            "episode_seed": self.config.episode_seed,
        }

        def work(cell: Cell) -> None:
            wrong = self._tested(key, source, self.config.settings)
            write_arrays(cell.folder / "wrong.npz", {s.label: wrong[s] for s in wrong})

        name = f"wrong-{key.arm}-seed{key.seed}-{key.latents}-{key.learner}"
        return self.cells.plan(name, depends, work, needs={"source": source})

    def _tested(
        self, key: Key, source: Cell, settings: Sequence[Setting]
    ) -> dict[Setting, NDArray[np.unsignedinteger]]:
        """Numbers of wrong queries ``[episodes]`` in the test episodes of each setting."""
        model = load_learner(self.config.learners[key.learner], source, key.latents)
        table = self._test_table(source, key.latents, model.to(self.device))
        return {
            setting: smallest(
                wrong_queries(model, table, self.samplers[setting], self.config.episodes).numpy()
            )
            for setting in settings
        }

    def _answers(self, key: Key, source: Cell) -> Cell:
        """The cell of the answers to the first test episode of the first setting."""
        learner, setting = self.config.learners[key.learner], self.config.settings[0]
        depends = {
            "cell": "answers",
            "latents": key.latents,
            **learner.testing,
            "setting": describe(setting),
            "episode_seed": self.config.episode_seed,
        }

        def work(cell: Cell) -> None:
            model = load_learner(learner, source, key.latents).to(self.device)
            episode = self.samplers[setting][0].gather(self.splits.test.images)
            here = episode.to(torch.device(self.device))
            with torch.no_grad():
                predicted = model.logits(here)[0].argmax(1).unflatten(0, (setting.n_way, -1))
            for name, figure in model.figures(here, predicted).items():
                write_figure(cell.folder / f"{name}.png", figure)
            images = episode.support[0].numpy(), episode.query[0].numpy()
            Answers(*images, predicted.cpu().numpy()).save(cell.folder / "answers.npz")

        return self.cells.plan(
            f"answers-{key.arm}-seed{key.seed}-{key.latents}-{key.learner}",
            depends,
            work,
            needs={"source": source},
        )

    def _test_table(self, source: Cell, latents: str, learner: Learner) -> Tensor:
        """Images or embeddings of the test set; embeddings are kept for the arm's next learner."""
        if learner.reads_images:
            return table_for(learner, self.splits.test, self.device)
        wanted = (source.folder, latents, learner.views, learner.beside_embedding)
        if self._embedded is None or self._embedded[0] != wanted:
            self._embedded = wanted, table_for(learner, self.splits.test, self.device)
        return self._embedded[1]

    def _diagnosis(self, name: str, seed: int, encoder: Cell) -> Cell:
        """The cell of the measurements of an encoder's latents."""
        return self.cells.plan(
            f"diagnosis-{name}-seed{seed}",
            {
                "cell": "diagnosis",
                "slices": describe(self._excited),
                "measures": measures_in_use(),
            },
            lambda _: {
                "measurements": diagnose(
                    Encoder.load(encoder.encoder_file),
                    self.splits.test,
                    self._excited,
                    self.device,
                )
            },
            needs={"encoder": encoder},
        )


def _decoder(encoder: Cell) -> Decoder | None:
    """The decoder beside an encoder, for tasks that are decoded."""
    if not encoder.decoder_file.exists():
        return None
    return Decoder.load(encoder.decoder_file, Encoder.load(encoder.encoder_file))
