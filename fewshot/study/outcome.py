"""What a study computed, and how to open it again."""

from dataclasses import dataclass
from typing import Any

from fewshot.evaluation import EpisodeErrors
from fewshot.learners.base import Learner
from fewshot.study.cells import Cell
from fewshot.study.config import LearnerConfig
from guided.encoder import Encoder


@dataclass(frozen=True)
class Outcome:
    """Everything that a study computed.

    Attributes:
        errors: one entry for each arm, seed, latents, learner and setting.
        encoders: (arm, seed) -> the cell that holds the encoder.
        learners: (arm, seed, learner, latents) -> the cell that holds what was evaluated: the
            encoder's, or the meta-trained learner's.
        diagnostics: what the guidances did to the latents: one dict a measurement.
        seconds: of computing, summed over cells, those of earlier runs included.
    """

    errors: list[EpisodeErrors]
    encoders: dict[tuple[str, int], Cell]
    learners: dict[tuple[str, int, str, str], Cell]
    diagnostics: list[dict[str, Any]]
    seconds: float


def load_learner(learner: LearnerConfig, source: Cell, latents: str) -> Learner:
    """The learner on a pretrained encoder with these latents, or as meta-training left it."""
    if source.depends["cell"] == "encoder":
        model = learner.learner(Encoder.load(source.encoder_file, latents))
    else:
        model = learner.learner(Encoder.load(source.encoder_file)).restore(source.learner_file)
    model.views = learner.test_augmentation
    return model.eval()
