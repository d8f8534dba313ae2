"""Settings of learners that were chosen on the validation classes: as results, and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from fewshot.config import describe
from fewshot.study.rows import Key, rounded
from fewshot.study.text import fixed, markdown


def lowest(errors: Sequence[float]) -> int:
    """The position of the lowest error; of equal ones the first."""
    return min(range(len(errors)), key=errors.__getitem__)


@dataclass(frozen=True)
class Candidate:
    """One combination of settings.

    Attributes:
        settings: plain values by name.
        error: percent, mean over the selection episodes.
    """

    settings: Mapping[str, Any]
    error: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The settings of a learner that were chosen for one encoder.

    Attributes:
        arm, seed: of the encoder.
        learner: name of the learner.
        latents: the latents it is fed.
        chosen: the settings of the candidate with the lowest error, of equal ones the first.
        candidates: in the order of the configuration.
    """

    arm: str
    seed: int
    learner: str
    latents: str
    chosen: Mapping[str, Any]
    candidates: tuple[Candidate, ...]

    @classmethod
    def from_errors(
        cls, key: Key, settings: Sequence[Mapping[str, Any]], errors: Sequence[float]
    ) -> Self:
        """The choice among candidates.

        Args:
            key: learner and encoder.
            settings: of each candidate.
            errors: of each candidate, in percent.
        """
        plain = [describe(values) for values in settings]
        pairs = zip(plain, map(rounded, errors), strict=True)
        return cls(
            **key._asdict(),
            chosen=plain[lowest(errors)],
            candidates=tuple(Candidate(*pair) for pair in pairs),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {**vars(self), "candidates": [dict(vars(c)) for c in self.candidates]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The choice that :meth:`to_json` described."""
        candidates = tuple(Candidate(**candidate) for candidate in values["candidates"])
        return cls(**{**values, "candidates": candidates})


def choices_table(choices: Sequence[Choice]) -> str:
    """The choice for each seed, and the mean error over seeds of each candidate.

    Empty if nothing was chosen.
    """
    grouped: dict[tuple[str, str, str], list[Choice]] = {}
    for choice in choices:
        grouped.setdefault((choice.arm, choice.latents, choice.learner), []).append(choice)
    lines = []
    for names, seeds in grouped.items():
        chosen = ", ".join(_short(choice.chosen) for choice in seeds)
        errors = zip(*([c.error for c in choice.candidates] for choice in seeds), strict=True)
        means = [
            f"{_short(candidate.settings)}: {fixed(sum(e) / len(e))}"
            for candidate, e in zip(seeds[0].candidates, errors, strict=True)
        ]
        settings = " ".join(seeds[0].chosen)
        lines.append([*names, settings, chosen, ", ".join(means)])
    if not lines:
        return ""
    head = ["arm", "latents", "learner", "setting", "chosen for each seed", "validation error %"]
    return f"\nChosen on the validation classes:\n\n{markdown(head, lines)}"


def _short(settings: Mapping[str, Any]) -> str:
    return " ".join(str(value) for value in settings.values())
