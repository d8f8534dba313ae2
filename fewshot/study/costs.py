"""The cost of training a study's encoders, beside that of the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Self

from fewshot.study.cells import Cell
from fewshot.study.text import NONE, fixed, markdown


@dataclass(frozen=True)
class Cost:
    """One training's cost, with its validations.

    Attributes:
        arm, seed: of the encoder.
        steps: optimizer steps.
        seconds: of wall-clock time, which other processes on the machine prolong.
        processor_seconds: of all processor cores together, which they do not; None where they were
            not recorded.
    """

    arm: str
    seed: int
    steps: int
    seconds: float
    processor_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The cost that :meth:`to_json` described."""
        return cls(**content)


def training_costs(encoders: Mapping[tuple[str, int], Cell]) -> list[Cost]:
    """Costs of the encoders that were trained here, from (arm, seed) -> finished cell.

    A training that was interrupted counts from where it was resumed.
    """
    costs = []
    for (arm, seed), cell in encoders.items():
        facts = cell.facts
        if steps := max((entry["step"] for entry in facts["history"]), default=0):
            spent = facts["seconds"], facts.get("processor_seconds")
            costs.append(Cost(arm, seed, int(steps), *spent))
    return costs


def costs_table(costs: Sequence[Cost], beside: str) -> str:
    """A line for each arm: steps, processor time, and its ratio to the arm ``beside``.

    Arms whose processor time was not recorded are left out.
    """
    spent = mean_costs(costs)
    usual = spent.get(beside)
    lines = []
    for arm, (steps, seconds) in spent.items():
        ratio = fixed(seconds / steps / (usual[1] / usual[0]), 1) if usual else NONE
        a_step = fixed(1000 * seconds / steps, 1)
        lines.append([arm, f"{steps:,}", fixed(seconds, 0), a_step, ratio])
    head = ["arm", "steps", "seconds of one core", "milliseconds a step", f"times {beside}"]
    return markdown(head, lines)


def mean_costs(costs: Sequence[Cost]) -> dict[str, tuple[int, float]]:
    """Arm -> its steps and the mean processor seconds of its trainings."""
    arms: dict[str, list[Cost]] = {}
    for cost in costs:
        if cost.processor_seconds is not None:
            arms.setdefault(cost.arm, []).append(cost)
    return {
        arm: (own[0].steps, fmean(cost.processor_seconds or 0.0 for cost in own))
        for arm, own in arms.items()
    }
