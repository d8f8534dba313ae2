"""The study: arms × seeds × learners × settings, paired, in resumable cells."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.config import describe
from fewshot.data.dataset import Splits
from fewshot.data.labels import labelled_classes
from fewshot.episodes import Setting
from fewshot.meta_train import meta_train
from fewshot.runs import only_one
from fewshot.study.arm_config import ArmConfig
from fewshot.study.arms import Arms
from fewshot.study.cells import Cell, Cells, foundation
from fewshot.study.checks import check_arm, check_images
from fewshot.study.config import StudyConfig, is_meta_trained
from fewshot.study.counts import EpisodeList
from fewshot.study.diagnostics import diagnose, excited_slices, latent_facts, measures_in_use
from fewshot.study.disentanglement.cells import FactorScorer
from fewshot.study.disentanglement.rows import RANDOM, TRUTH
from fewshot.study.examiner import Examiner
from fewshot.study.examples import plan_examples
from fewshot.study.executors import Executor, Serial
from fewshot.study.outcome import Outcome, Subject, decoder_beside
from fewshot.study.report import write_report
from fewshot.study.result import StudyResult
from fewshot.study.reuse import reuse
from fewshot.study.row_tests import RowTest
from fewshot.study.rows import Key
from guided.encoder import Encoder
from guided.errors import blaming
from guided.progress import say as say_line


class Study:
    """Computes a study's cells inside a run folder.

    Args:
        config: what to compare.
        splits: the dataset's banks.
        output: the run folder; cells go below its folder ``cells``.
        learners: names of those that are tested; all of the configuration's if not given.
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
        learners: Collection[str] | None = None,
        device: str = "cpu",
        say: Callable[[str], object] = say_line,
        executor: Executor | None = None,
    ) -> None:
        self.config, self.splits, self.output = config, splits, output
        self.learners = config.learners if learners is None else learners
        self.device, self.say = device, say
        self.executor = executor or Serial()
        self.cells = Cells(output, config.threads)
        shared = foundation(config.dataset, splits, device)
        if config.precision != StudyConfig.precision:
            shared["precision"] = config.precision
        self.examiner = Examiner(config, splits, self.cells, shared, device)
        self.arms = Arms(config, splits, self.examiner.judge, self.cells, shared, device, say)
        scores = config.disentanglement
        self.scorer = (
            FactorScorer(scores, splits.test, self.cells, shared, device) if scores else None
        )
        self._guidance = [own for arm in config.arms.values() for own in arm.guidance]
        # Attribute -> the latents that an arm excites for it.
        self._excited: dict[str, tuple[int, int]] = {}
        check_images(config, splits)
        for name, arm in config.arms.items():
            from_files = arm.checkpoint or arm.from_elsewhere
            for seed in config.seeds if from_files else config.seeds[:1]:
                untrained = self.arms.untrained(arm, seed)
                check_arm(config, splits, name, untrained)
                self._excited = excited_slices(untrained, splits.test) | self._excited

    def _repr_html_(self) -> str:
        return self.config._repr_html_() + self.splits._repr_html_()

    def result(self, doubts: Sequence[str] = ()) -> StudyResult:
        """Compute what is missing and write the report, with the doubts of :func:`.read_splits`."""
        planned = self.plan()
        self.cells.show_logs()
        outcome = self.compute(planned)
        args = self.config, outcome, self.episode_lists(), self.splits, self.output, self.device
        return write_report(*args, doubts)

    def episode_lists(self) -> dict[str, EpisodeList]:
        """The test episodes of each setting, by its label."""
        return {
            setting.label: EpisodeList(
                self.examiner.seed(setting), sampler.classes(0, self.config.episodes)
            )
            for setting, sampler in self.examiner.samplers.items()
        }

    def run(self) -> Outcome:
        """Compute every cell that is not finished yet."""
        return self.compute(self.plan())

    def compute(self, planned: Outcome) -> Outcome:
        """Compute every planned cell that is not finished yet."""
        if found := reuse(self.cells):
            self.say(found)
        self.executor.run(self.cells, self.config.study)
        for subject in planned.learners.values():  # no training continues from these any more
            subject.source.state_file.unlink(missing_ok=True)
        return planned

    def plan(self, *, tests: bool = True) -> Outcome:
        """The cells of the study, each after all that it needs.

        Args:
            tests: false: only what is tested, trained and with chosen settings.
        """
        planned = Outcome(self.config, self.cells)
        for seed in self.config.seeds:
            for name in self.config.arms:
                self._plan_arm(name, seed, planned, tests)
            if tests and self.scorer:
                self._plan_scores(self.scorer, seed, planned)
        return replace(planned, examples=self._examples(planned)) if tests else planned

    def _examples(self, planned: Outcome) -> Cell:
        """The cell of the examples: of the lowest seed, and each arm's first latents and learner.

        Neither the order of the arms nor that of the seeds changes it.
        """
        first: dict[str, Key] = {}
        for key in planned.learners:
            if key.seed == min(self.config.seeds):
                first.setdefault(key.arm, key)
        subjects = {first[arm]: planned.learners[first[arm]] for arm in sorted(first)}
        return plan_examples(self.examiner, subjects, planned.tested)

    def _plan_scores(self, scorer: FactorScorer, seed: int, planned: Outcome) -> None:
        """Scores of the arms' latents, of a network before training, and of the factors."""
        arms = {name: arm for name, arm in self.config.arms.items() if arm.encoder != "pixels"}
        if not any(arm.encoder == "random" for arm in arms.values()):
            arms[RANDOM] = ArmConfig(encoder="random")
        for name, arm in arms.items():
            encoder = self.arms.cell(name, arm, seed)
            trained = arm.encoder != "random"
            planned.scores[name, seed] = scorer.encoder(name, seed, encoder, trained)
        planned.scores[TRUTH, seed] = scorer.truth(seed)

    def _plan_arm(self, name: str, seed: int, planned: Outcome, tests: bool) -> None:
        arm = self.config.arms[name]
        encoder = planned.encoders[name, seed] = self.arms.cell(name, arm, seed)
        for latents, learner in self._conditions(name):
            key = Key(name, seed, learner, latents)
            subject = planned.learners[key] = self._subject(key, arm, encoder)
            if not tests:
                continue
            planned.tested[key] = self.examiner.wrong(key, subject)
            if name not in planned.answers:
                planned.answers[name] = self.examiner.answers(key, subject)
        if tests:
            planned.diagnoses[name, seed] = self._diagnosis(name, seed, encoder)

    def tests(self) -> list[RowTest]:
        """Each row with each of its seeds, planned."""
        return self.plan().tests

    def _subject(self, key: Key, arm: ArmConfig, encoder: Cell) -> Subject:
        """The learner as it is examined on an arm, with what it needs planned."""
        source = self._meta_trained(key, arm, encoder) or encoder
        teacher = self.config.learners[key.learner].deformations
        prior = None if teacher is None else self.arms.deformations(teacher, key.seed)
        return self.examiner.subject(key, source, prior)

    def recompute(
        self, arm: str, learner: str, latents: str, setting: Setting
    ) -> NDArray[np.unsignedinteger]:
        """Numbers of wrong queries ``[seeds, episodes]`` of one row, computed anew.

        From the encoders and learners in the run folder, where they are; else these are trained.
        """
        seeds = []
        for seed in self.config.seeds:
            key = Key(arm, seed, learner, latents)
            encoder = self.arms.cell(arm, self.config.arms[arm], seed)
            seeds.append(self._subject(key, self.config.arms[arm], encoder))
        self.cells.bring_back(cell for subject in seeds for cell in subject.needs.values())
        if self.cells.missing:
            with only_one(self.output):
                self.executor.run(self.cells, self.config.study)
        return np.stack([self.examiner.count(subject, [setting])[setting] for subject in seeds])

    def _conditions(self, arm: str) -> Iterator[tuple[str, str]]:
        """Yield (latents, learner's name)."""
        for latents in self.config.arms[arm].latents:
            for learner in self.config.learners_of(arm):
                if learner in self.learners:
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
        part = "" if key.latents == "all" else f"_{key.latents}"

        def work(cell: Cell) -> dict[str, Any]:
            with blaming(f"{name} on arm {key.arm}, seed {key.seed}"):
                return self._meta_train(key._replace(learner=name), cell, encoder)

        return self.cells.plan(
            f"train-{key.arm}-seed{key.seed}-{key.latents}-{name}",
            depends,
            work,
            needs={"encoder": encoder},
            start_from=(
                self._meta_trained(key._replace(learner=shorter), arm, encoder) if shorter else None
            ),
            keep_state=any(self.config.beginning_of(n) == name for n in self.config.learners),
            log=f"{key.arm}/{name}{part}/seed{key.seed}",
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
            log_folder=cell.log_folder(),
            description=f"train {key.learner} on {key.arm}, seed {key.seed}",
            decoder=decoder_beside(encoder) if learner.train.tasks else None,
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

    def _diagnosis(self, name: str, seed: int, encoder: Cell) -> Cell:
        """The cell of the measurements of an encoder's latents."""

        def work(_: Cell) -> dict[str, Any]:
            made, bank = Encoder.load(encoder.encoder_file), self.splits.test
            is_vae = self.config.arms[name].posterior
            with blaming(f"arm {name}, seed {seed}, test classes"):
                found = diagnose(made, bank, self._excited, self.device, guidance=self._guidance)
                facts = latent_facts(made, bank, self.device, posterior=is_vae)
            return {"measurements": found} | facts

        return self.cells.plan(
            f"diagnosis-{name}-seed{seed}",
            {
                "cell": "diagnosis",
                "version": 3,  # raise it when a measure comes to mean another number
                "slices": describe(self._excited),
                "measures": measures_in_use(self._guidance),
            },
            work,
            needs={"encoder": encoder},
        )
