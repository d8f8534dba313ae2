"""Tests of learners on encoders: settings chosen on the validation classes, then wrong queries."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fewshot.config import describe
from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.episodes import Setting
from fewshot.evaluation import table_for, wrong_queries
from fewshot.learners.base import Learner
from fewshot.sampler import EpisodeSampler
from fewshot.study.cells import Cell, Cells
from fewshot.study.config import StudyConfig
from fewshot.study.counts import Wrong, smallest
from fewshot.study.matching_costs import MatchingCosts, read_costs
from fewshot.study.outcome import Answers, Subject
from fewshot.study.rows import Key
from guided.errors import InputError, blaming
from guided.seeds import derive_seed
from guided.storage.files import write_arrays, write_figure


class Examiner:
    """Examines learners on encoders: the cells of a study that come after its trainings.

    Args:
        config: the study.
        splits: the dataset's banks.
        cells: the run folder's cells.
        shared: what every cell of the study depends on; see :func:`.foundation`.
        device: where to compute.

    Raises:
        InputError: impossible episodes.
    """

    def __init__(
        self,
        config: StudyConfig,
        splits: Splits,
        cells: Cells,
        shared: Mapping[str, Any],
        device: str,
    ) -> None:
        self.config, self.splits, self.cells, self.device = config, splits, cells, device
        self.costs = MatchingCosts(cells, shared, device)
        self.samplers = {
            setting: EpisodeSampler(splits.test, setting, self.seed(setting))
            for setting in config.settings
        }
        self.selection_seed = derive_seed(config.episode_seed, "selection")
        try:
            self.judge = EpisodeSampler(splits.validation, config.selection, self.selection_seed)
        except InputError as error:
            raise InputError(f"validation classes: {error}") from error
        self._settings = describe(config.settings)
        self._embedded: tuple[tuple[Hashable, ...], Tensor] | None = None

    def seed(self, setting: Setting) -> int:
        """The seed of the test episodes of a setting."""
        return derive_seed(self.config.episode_seed, "test", setting.label)

    def subject(self, key: Key, source: Cell, prior: Cell | None = None) -> Subject:
        """The learner that is examined; its choice of settings, if it has one, is planned."""
        learner = self.config.learners[key.learner]
        subject = Subject(learner, key.latents, source, prior=prior)
        if not learner.choose:
            return subject
        depends = {
            "cell": "choice",
            **subject.depends,
            "candidates": describe(learner.candidates),
            "setting": describe(self.config.selection),
            "episodes": self.config.selection_episodes,
            "episode_seed": self.config.episode_seed,
        }

        n_episodes = self.config.selection_episodes
        seed = self.selection_seed
        costs = self.costs.cell(
            learner, prior, self.splits.validation, self.judge, seed, n_episodes
        )

        def work(_: Cell) -> dict[str, Any]:
            known = read_costs(costs)
            with blaming(f"arm {key.arm}, seed {key.seed}, validation classes"):
                errors = [self._error(subject, values, known) for values in learner.candidates]
                return {"errors": errors}

        needs = subject.needs | ({"costs": costs} if costs else {})
        choice = self.cells.plan(_name("choice", key), depends, work, needs=needs)
        return Subject(learner, key.latents, source, choice, prior)

    def _error(self, subject: Subject, settings: Mapping[str, Any], costs: Tensor | None) -> float:
        """Mean error in percent on the selection episodes, with some settings."""
        model = subject.load(settings).to(self.device)
        table = self._table(subject, model, self.splits.validation)
        n_episodes, shape = self.config.selection_episodes, self.config.selection
        wrong = int(wrong_queries(model, table, self.judge, n_episodes, costs).sum())
        return 100 * wrong / (n_episodes * shape.n_way * shape.n_query)

    def wrong(self, key: Key, subject: Subject) -> Cell:
        """The cell of the numbers of wrong queries in all test episodes."""
        depends = {
            "cell": "wrong",
            **subject.depends,
            "settings": self._settings,
            "episodes": self.config.episodes,
            "episode_seed": self.config.episode_seed,
        }

        args = subject.learner, subject.prior, self.splits.test
        costs = {
            setting: cell
            for setting, sampler in self.samplers.items()
            if (cell := self.costs.cell(*args, sampler, self.seed(setting), self.config.episodes))
        }

        def work(cell: Cell) -> None:
            with blaming(f"arm {key.arm}, seed {key.seed}, test classes"):
                wrong = self.count(subject, self.config.settings, costs)
            write_arrays(cell.folder / "wrong.npz", {s.label: wrong[s] for s in wrong})

        needs = subject.needs | {f"costs {s.label}": cell for s, cell in costs.items()}
        return self.cells.plan(_name("wrong", key), depends, work, needs=needs)

    def count(
        self,
        subject: Subject,
        settings: Sequence[Setting],
        costs: Mapping[Setting, Cell] | None = None,
    ) -> dict[Setting, Wrong]:
        """Numbers of wrong queries ``[episodes]`` in the test episodes of each setting.

        Args:
            subject: the learner.
            settings: of the episodes.
            costs: the cells of those that the learner would compute, where they are shared.
        """
        model = subject.load().to(self.device)
        table = self._table(subject, model, self.splits.test)
        found = {}
        for setting in settings:
            known = read_costs((costs or {}).get(setting))
            sampler, n_episodes = self.samplers[setting], self.config.episodes
            found[setting] = smallest(
                wrong_queries(model, table, sampler, n_episodes, known).numpy()
            )
        return found

    def answers(self, key: Key, subject: Subject) -> Cell:
        """The cell of the answers to the first test episode of the first setting."""
        setting = self.config.settings[0]
        depends = {
            "cell": "answers",
            **subject.depends,
            "setting": describe(setting),
            "episode_seed": self.config.episode_seed,
        }

        def work(cell: Cell) -> None:
            model = subject.load().to(self.device)
            rows = self.samplers[setting][0]
            here = rows.gather(self.splits.test.images).to(torch.device(self.device))
            with torch.no_grad():
                predicted = model.logits(here)[0].argmax(1).unflatten(0, (setting.n_way, -1))
            for name, figure in model.figures(here, predicted).items():
                write_figure(cell.folder / f"{name}.png", figure)
            shown = rows.map(self.splits.test.shown)
            Answers(shown.support[0].numpy(), shown.query[0].numpy(), predicted.cpu().numpy()).save(
                cell.folder / "answers.npz"
            )

        return self.cells.plan(_name("answers", key), depends, work, needs=subject.needs)

    def _table(self, subject: Subject, model: Learner, bank: ImageBank) -> Tensor:
        """Images or embeddings of a bank; embeddings are kept for the encoder's next learner."""
        if model.reads_images:
            return table_for(model, bank, self.device)
        source = (subject.source.folder, subject.latents, id(bank))
        inference = repr(subject.learner.test_inference)
        wanted = (*source, inference, model.views, model.apart)
        if self._embedded is None or self._embedded[0] != wanted:
            self._embedded = wanted, table_for(model, bank, self.device)
        return self._embedded[1]


def _name(kind: str, key: Key) -> str:
    return f"{kind}-{key.arm}-seed{key.seed}-{key.latents}-{key.learner}"
