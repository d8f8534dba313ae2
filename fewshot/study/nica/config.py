"""The configuration of a study of nonlinear ICA, and the checks that need no data."""

from dataclasses import dataclass, field
from typing import Any

from guided.errors import InputError


@dataclass(frozen=True)
class Sources:
    """Gaussian sources, independent of each other in each segment, that segments modulate.

    Args:
        number: of sources, at least 2. A random rotation of two has an MCC of 0.9.
        segments: values of the auxiliary variable, at least 2.
        mean: each source's mean in each segment is uniform in [-mean, mean]; 0: segments change
            the scale alone, sources of order 1, which the theory recovers only up to their squares.
        least_std, most_std: ends of the interval in which its standard deviation is uniform.
    """

    number: int = 4
    segments: int = 40
    mean: float = 3.0
    least_std: float = 0.5
    most_std: float = 3.0

    def __post_init__(self) -> None:
        _at_least("sources", self, number=2, segments=2, mean=0)
        if not 0 < self.least_std <= self.most_std:
            raise InputError(
                "sources.least_std: expected above 0 and at most most_std, got "
                f"{self.least_std} and {self.most_std}"
            )


@dataclass(frozen=True)
class Mixing:
    """An invertible network of square layers with leaky ReLU between them.

    Args:
        layers: number of linear maps, at least 1; 1: the mixing is linear.
        slope: of leaky ReLU below 0, in (0, 1].
        condition: ratio of each map's largest to its smallest singular value, at least 1; they are
            evenly spaced between random rotations.
    """

    layers: int = 2
    slope: float = 0.2
    condition: float = 2.0

    def __post_init__(self) -> None:
        _at_least("mixing", self, layers=1, condition=1)
        if not 0 < self.slope <= 1:
            raise InputError(f"mixing.slope: expected in (0, 1], got {self.slope}")


@dataclass(frozen=True)
class Estimator:
    """Generalized contrastive learning of vectors: the network h, and how it is trained.

    Args:
        layers: hidden layers of h, each of the study's width, at least 1.
        hidden: width of the networks of the scores; 0: they are linear in h, as in TCL.
        steps: of Adam, its learning rate by cosine to zero.
        batch_size: samples a step, drawn with replacement.
        learning_rate: at the start.
    """

    layers: int = 2
    hidden: int = 10
    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        _at_least("estimator", self, layers=1, hidden=0, steps=1, batch_size=2)
        if not self.learning_rate > 0:
            raise InputError(f"estimator.learning_rate: expected > 0, got {self.learning_rate}")


@dataclass(frozen=True)
class NicaStudyConfig:
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
    samples: list[int] = field(default_factory=lambda: [50, 100, 200, 500, 1000])
    widths: list[int] = field(default_factory=lambda: [4, 16, 64, 256])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    test_samples: int = 250
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("samples", 2), ("widths", 1), ("seeds", 0)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise InputError(f"{name}: expected numbers of at least {least}, got {values}")
            if len(set(values)) < len(values):
                raise InputError(f"{name}: {values} holds one twice")
        if min(self.widths) < self.sources.number:
            raise InputError(
                f"widths: a layer of {min(self.widths)} cannot hold {self.sources.number} sources"
            )
        for name, least in (("test_samples", 2), ("threads", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")


def _at_least(key: str, settings: Any, **least: float) -> None:
    for name, bound in least.items():
        value = getattr(settings, name)
        if value < bound:
            raise InputError(f"{key}.{name}: expected at least {bound}, got {value}")
