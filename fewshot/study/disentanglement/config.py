"""Settings of the scores against ground-truth factors."""

from dataclasses import dataclass, field
from typing import Annotated

from guided.errors import InputError
from guided.metrics.disentanglement import Score
from guided.ranges import Checked, Range


@dataclass(frozen=True)
class DisentanglementConfig(Checked):
    """Scores of all latents of every encoder against the factors of the test images.

    Args:
        scores: which ones, see :func:`guided.metrics.disentanglement_scores`; ``dci`` is three.
        points: of the score of β-VAE, each of 64 pairs of images, and votes of FactorVAE's, each of
            64 images.
    """

    scores: list[Score] = field(
        default_factory=lambda: ["beta_vae", "factor_vae", "mig", "sap", "dci"]
    )
    points: Annotated[int, Range(60)] = 3000

    def __post_init__(self) -> None:
        if not self.scores:
            raise InputError("disentanglement.scores: at least one is needed")
