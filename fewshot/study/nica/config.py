"""The configuration of a study of nonlinear ICA, and the checks that need no data."""

from dataclasses import dataclass, field
from typing import Annotated

from fewshot.study.recorded import plain_name
from guided.errors import InputError
from guided.ranges import (
    Checked,
    Count,
    NonNegative,
    Positive,
    PositiveShare,
    Range,
    Several,
    Whole,
)


@dataclass(frozen=True)
class Sources(Checked):
    """Gaussian sources, independent of each other in each segment, that segments modulate.

    Args:
        number: of sources, at least 2. A random rotation of two has an MCC of 0.9.
        segments: values of the auxiliary variable, at least 2.
        mean: each source's mean in each segment is uniform in [-mean, mean]; 0: segments change
            the scale alone, sources of order 1, which the theory recovers only up to their squares.
        least_std, most_std: ends of the interval in which its standard deviation is uniform.
    """

    number: Several = 4
    segments: Several = 40
    mean: NonNegative = 3.0
    least_std: Positive = 0.5
    most_std: Positive = 3.0

    def __post_init__(self) -> None:
        if self.least_std > self.most_std:
            raise InputError(
                f"least_std: expected at most most_std, got {self.least_std} and {self.most_std}"
            )


@dataclass(frozen=True)
class Mixing(Checked):
    """An invertible network of square layers with leaky ReLU between them.

    Args:
        layers: number of linear maps, at least 1; 1: the mixing is linear.
        slope: of leaky ReLU below 0, in (0, 1].
        condition: ratio of each map's largest to its smallest singular value, at least 1; they are
            evenly spaced between random rotations.
    """

    layers: Count = 2
    slope: PositiveShare = 0.2
    condition: Annotated[float, Range(1)] = 2.0


@dataclass(frozen=True)
class Estimator(Checked):
    """Generalized contrastive learning of vectors: the network h, and how it is trained.

    Args:
        layers: hidden layers of h, each of the study's width, at least 1.
        hidden: width of the networks of the scores; 0: they are linear in h, as in TCL.
        steps: of Adam, its learning rate by cosine to zero.
        batch_size: samples a step, drawn with replacement.
        learning_rate: at the start.
    """

    layers: Count = 2
    hidden: Whole = 10
    steps: Count = 2000
    batch_size: Several = 256
    learning_rate: Positive = 1e-2


@dataclass(frozen=True)
class NicaStudyConfig(Checked):
    """Samples × widths × seeds: how well generalized contrastive learning recovers sources.

    Args:
        study: its name.
        sources: their distribution.
        mixing: the network whose outputs are observed.
        estimator: how they are unmixed.
        samples: training samples of each segment.
        widths: of the hidden layers of h, none below the number of sources.
        seeds: each draws sources, a mixing, samples and initial weights of its own.
        test_samples: of each segment, held out.
        threads: of each cell's computation on a CPU; cells are computed side by side instead.
    """

    study: str
    sources: Sources = field(default_factory=Sources)
    mixing: Mixing = field(default_factory=Mixing)
    estimator: Estimator = field(default_factory=Estimator)
    samples: list[Several] = field(default_factory=lambda: [50, 100, 200, 500, 1000])
    widths: list[Count] = field(default_factory=lambda: [4, 16, 64, 256])
    seeds: list[Whole] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    test_samples: Several = 250
    threads: Count = 1

    def __post_init__(self) -> None:
        plain_name(self.study, "study")
        for name in ("samples", "widths", "seeds"):
            values = getattr(self, name)
            if not values:
                raise InputError(f"{name}: at least one is needed")
            if len(set(values)) < len(values):
                raise InputError(f"{name}: {values} holds one twice")
        if min(self.widths) < self.sources.number:
            raise InputError(
                f"widths: a layer of {min(self.widths)} cannot hold {self.sources.number} sources"
            )
