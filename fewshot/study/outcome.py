"""Everything that a study computed, as the report reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.episodes import Setting
from fewshot.learners.base import Learner
from fewshot.statistics import Errors
from fewshot.study.cells import Cell, Cells, Seconds
from fewshot.study.choices import Choice, lowest
from fewshot.study.config import StudyConfig, partner_arms
from fewshot.study.costs import Cost, training_costs
from fewshot.study.disentanglement.rows import TRUTH, ScoreRow, score_rows
from fewshot.study.encoder_facts import EncoderFacts
from fewshot.study.learner_config import LearnerConfig
from fewshot.study.measurement import Measurement
from fewshot.study.row_tests import RowTest
from fewshot.study.rows import Key, WrongQueries
from guided.backbones.short_run import semi_amortised
from guided.decoder import Decoder
from guided.encoder import Encoder
from guided.storage.files import read_arrays, write_arrays


@dataclass(frozen=True)
class LearningCurve:
    """Validations of one pretraining.

    Attributes:
        arm, seed: of the encoder.
        history: one dict a validation: ``step``, and ``score`` and ``negative_elbo`` if they were
            measured.
        elbo: False if the encoder was trained without the ELBO, whose value then says nothing.
        latents: of the encoder, that a meta-trained learner is fed.
    """

    arm: str
    seed: int
    history: list[dict[str, float]]
    elbo: bool = True
    latents: str = "all"

    @property
    def kept(self) -> int:
        """Position in ``history`` of the state that was kept: the lowest score, the first of
        equal ones; the last state without scores."""
        if "score" not in self.history[0]:
            return len(self.history) - 1
        return lowest([entry["score"] for entry in self.history])


@dataclass(frozen=True)
class Answers:
    """One test episode and a learner's answers to it.

    Attributes:
        support: images uint8 ``[n_way, n_shot, C, H, W]``.
        query: images uint8 ``[n_way, n_query, C, H, W]``.
        predicted: the class that each query was taken for, int64 ``[n_way, n_query]``.
    """

    support: NDArray[np.uint8]
    query: NDArray[np.uint8]
    predicted: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the arrays as ``.npz``."""
        write_arrays(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read what :meth:`save` wrote."""
        return cls(**read_arrays(path))


@dataclass(frozen=True)
class Subject:
    """A learner as it is examined on one encoder: the settings and the cells that it is made from.

    Attributes:
        learner: its settings.
        latents: of the encoder.
        source: the cell that holds the encoder, or the meta-trained learner.
        choice: the cell of the settings that were chosen; None where there is no choice.
        prior: the cell of the deformations that are its prior; None: its own settings say.
    """

    learner: LearnerConfig
    latents: str
    source: Cell
    choice: Cell | None = None
    prior: Cell | None = None

    @property
    def needs(self) -> dict[str, Cell]:
        """The cells that must be there before, by the part they play."""
        others = {"choice": self.choice, "prior": self.prior}
        return {"source": self.source} | {part: cell for part, cell in others.items() if cell}

    @property
    def depends(self) -> dict[str, Any]:
        """Plain values of all else that its answers depend on."""
        return {"latents": self.latents, **self.learner.testing}

    def load(self, settings: Mapping[str, Any] | None = None) -> Learner:
        """The learner, in evaluation mode.

        Args:
            settings: replace its own; None: those that were chosen, if any.
        """
        if settings is None:
            chosen = lowest(self.choice.facts["errors"]) if self.choice else 0
            settings = self.learner.candidates[chosen]
        if self.prior:
            settings = {**settings, "prior": self.prior.deformations_file}
        make = partial(self.learner.learner, **settings)
        if self.source.depends["cell"] == "encoder":
            model = make(self._encoder())
        else:
            model = make(Encoder.load(self.source.encoder_file))
            if self.learner.trained_by is None:
                model.restore(self.source.learner_file)
        model.views = self.learner.test_augmentation
        return model.eval()

    def _encoder(self) -> Encoder:
        """The arm's encoder, with the learner's inference at test time."""
        encoder = Encoder.load(self.source.encoder_file, self.latents)
        if self.learner.test_inference is None:
            return encoder
        decoder = Decoder.load(self.source.decoder_file, encoder)
        return semi_amortised(encoder, decoder, self.learner.test_inference)


@dataclass(frozen=True)
class Outcome:
    """The cells of a study; the properties read them, once they are computed.

    Attributes:
        config: of the study.
        cells: its plan.
        encoders: (arm, seed) -> the cell that holds the encoder.
        learners: the subjects of the tests.
        tested: the cell that holds the numbers of wrong queries.
        answers: arm -> the cell that holds one test episode and the answers to it.
        diagnoses: (arm, seed) -> the cell that holds measurements of the encoder's latents.
        scores: (arm, seed) -> the cell that holds scores of its latents against known factors.
        examples: the cell that holds episodes worth looking at, and all arms' answers to them.
    """

    config: StudyConfig
    cells: Cells
    encoders: dict[tuple[str, int], Cell] = field(default_factory=dict)
    learners: dict[Key, Subject] = field(default_factory=dict)
    tested: dict[Key, Cell] = field(default_factory=dict)
    answers: dict[str, Cell] = field(default_factory=dict)
    diagnoses: dict[tuple[str, int], Cell] = field(default_factory=dict)
    scores: dict[tuple[str, int], Cell] = field(default_factory=dict)
    examples: Cell | None = None

    @property
    def seconds(self) -> Seconds:
        """Time spent on the cells, each counted once."""
        return self.cells.seconds

    @property
    def curves(self) -> list[LearningCurve]:
        """Of the encoders that were trained here, and validated."""
        found = [
            LearningCurve(name, seed, cell.facts["history"], self.config.arms[name].elbo)
            for (name, seed), cell in self.encoders.items()
        ]
        return [curve for curve in found if curve.history]

    @property
    def diagnostics(self) -> list[Measurement]:
        """Measurements of the encoders' latents, then of the guided models."""
        return [
            Measurement.from_json({"arm": name, "seed": seed, **entry})
            for cells in (self.diagnoses, self.encoders)
            for (name, seed), cell in cells.items()
            for entry in cell.facts.get("measurements", [])
        ]

    @property
    def encoder_facts(self) -> list[EncoderFacts]:
        """Of the encoders that were trained here: signs of collapse, and of convergence."""
        return [
            EncoderFacts.of(
                name,
                seed,
                cell.facts["history"],
                self.diagnoses[name, seed].facts,
                any(guidance.basis for guidance in self.config.arms[name].guidance),
            )
            for (name, seed), cell in self.encoders.items()
            if self.config.arms[name].encoder in ("pretrained", "trained")
        ]

    @property
    def costs(self) -> list[Cost]:
        """Of the encoders that were trained here."""
        return training_costs(self.encoders)

    @property
    def disentanglement(self) -> list[ScoreRow]:
        """Scores against ground-truth factors, in the order of the arms."""
        arms = dict.fromkeys([*self.config.arms, *(name for name, _ in self.scores)])
        found = {
            name: [self.scores[name, seed].facts["scores"] for seed in self.config.seeds]
            for name in arms
            if (name, self.config.seeds[0]) in self.scores
        }
        usual, known = self.config.baseline, self.config.arms
        own = {name: known[name].baseline if name in known else None for name in found}
        partners = {name: partner_arms(name, own[name], usual) for name in found if name != TRUTH}
        return score_rows(found, partners)

    @property
    def choices(self) -> list[Choice]:
        """The settings that were chosen, and the errors by which they were."""
        return [
            Choice.from_errors(key, subject.learner.candidates, subject.choice.facts["errors"])
            for key, subject in self.learners.items()
            if subject.choice
        ]

    @cached_property
    def wrong(self) -> list[WrongQueries]:
        """One entry for each arm, seed, learner, latents and setting, read from the cells."""
        found = []
        for key, cell in self.tested.items():
            stored = read_arrays(cell.folder / "wrong.npz")
            found += [
                WrongQueries(key, setting, stored[setting.label])
                for setting in self.config.settings
            ]
        return found

    @property
    def tests(self) -> list[RowTest]:
        """Each row with each of its seeds."""
        return [
            RowTest(
                (key.arm, key.learner, key.latents, setting.label),
                key.seed,
                cell,
                partial(_errors, cell, setting),
            )
            for key, cell in self.tested.items()
            for setting in self.config.settings
        ]

    def answers_of(self, arm: str) -> Answers:
        """One test episode and the answers of the arm's first seed, learner and latents."""
        return Answers.load(self.answers[arm].folder / "answers.npz")


def _errors(cell: Cell, setting: Setting) -> Errors:
    """Percent, of each test episode of a finished cell."""
    wrong = read_arrays(cell.folder / "wrong.npz")[setting.label]
    return 100 * wrong.astype(np.float64) / (setting.n_way * setting.n_query)


def decoder_beside(encoder: Cell) -> Decoder | None:
    """The decoder beside an encoder, for tasks that are decoded."""
    if not encoder.decoder_file.exists():
        return None
    return Decoder.load(encoder.decoder_file, Encoder.load(encoder.encoder_file))
