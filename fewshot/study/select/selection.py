"""Selection without labels: what was computed, and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import numpy as np

from fewshot.study.rows import rounded
from fewshot.study.select.judge import Floats, Judgement, judge, ranks

TITLES = {
    "udr_lasso": "UDR-Lasso",
    "udr_spearman": "UDR-Spearman",
    "centrality": "centrality",
    "elbo": "ELBO",
    "validation": "validation error",
}
"""Names of the scores in tables. The last reads the labels of validation classes."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One encoder, or something that is shown beside them, in numbers of four decimals.

    Attributes:
        name: run, arm and seed, which differ between encoders.
        scores: without labels -> value, as far as it has them; higher is meant to be better.
        factors: score against the test images' factors -> value.
        errors: learner and setting in words -> error on the test episodes, in percent.
        run: name of its run; empty if there is only one.
        arm, seed: of the encoder.
        objective: what trained it.
        live_latents: number of latents that carry information.
        centrality_among_other_arms: its centrality with the encoders of other arms alone.
    """

    name: str
    scores: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    run: str = ""
    arm: str = ""
    seed: int | None = None
    objective: str = ""
    live_latents: int | None = None
    centrality_among_other_arms: float | None = None

    def value(self, name: str) -> float:
        """Its score or error of a name; NaN without."""
        return {**self.scores, **self.factors, **self.errors}.get(name, np.nan)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The entry among other values by name."""
        return cls(**{f.name: content[f.name] for f in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Scores of encoders, and how far each score's choice is from the best.

    Attributes:
        runs: the run folders.
        encoders: from which to choose.
        references: shown for scale: an untrained encoder, pixels, the factors themselves.
        left_out: arm -> why.
        agreement: A of ModelCentrality, ``[encoders, encoders]``; None if it was not made.
        facts: JSON-able facts by name: seed, numbers of images and votes, versions …
    """

    runs: tuple[str, ...]
    encoders: tuple[Entry, ...]
    references: tuple[Entry, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    agreement: list[list[float | None]] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the encoders."""
        return [entry.name for entry in self.encoders]

    @property
    def tests(self) -> list[str]:
        """Learners and settings whose errors are known of some encoder."""
        return list(dict.fromkeys(test for entry in self.encoders for test in entry.errors))

    @property
    def measures(self) -> list[str]:
        """Names of the scores against factors."""
        return list(dict.fromkeys(name for entry in self.encoders for name in entry.factors))

    @property
    def scores(self) -> list[str]:
        """Names of the scores without factors that some encoder has."""
        return [name for name in TITLES if not np.isnan(self.values(name)).all()]

    def values(self, name: str) -> Floats:
        """A score or an error of each encoder; NaN where it is unknown."""
        return np.array([entry.value(name) for entry in self.encoders])

    @cached_property
    def judgements(self) -> dict[str, list[Judgement]]:
        """Test -> judgements of all scores; score against factors -> those of the others."""
        outcomes = [(test, [*self.scores, *self.measures], True) for test in self.tests]
        outcomes += [(measure, self.scores, False) for measure in self.measures]
        arms = [(entry.run, entry.arm) for entry in self.encoders]
        found: dict[str, list[Judgement]] = {}
        for outcome, scores, lower in outcomes:
            judged = (
                judge(
                    (score, outcome),
                    self.values(score),
                    self.values(outcome),
                    lower_is_better=lower,
                    arms=arms,
                    seed=self.facts["seed"],
                )
                for score in scores
            )
            found[outcome] = [one for one in judged if one]
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; ``facts`` stand beside the other names."""
        places = {name: ranks(self.values(name)) for name in TITLES}
        return {
            "runs": list(self.runs),
            "encoders": [
                asdict(entry) | {"ranks": {name: places[name][i] for name in places}}
                for i, entry in enumerate(self.encoders)
            ],
            "references": [asdict(entry) for entry in self.references],
            "left_out": dict(self.left_out),
            "agreement": self.agreement,
            "judgements": [
                one.to_json(self.names) for some in self.judgements.values() for one in some
            ],
            **self.facts,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The selection that :meth:`to_json` described; its judgements are made again."""
        values = dict(content)
        values.pop("judgements")
        entries = {
            key: tuple(map(Entry.from_json, values.pop(key))) for key in ("encoders", "references")
        }
        return cls(
            runs=tuple(values.pop("runs")),
            left_out=values.pop("left_out"),
            agreement=values.pop("agreement"),
            **entries,
            facts=values,
        )


def plain(value: float | None) -> float | None:
    """A number of four decimals; None for an unknown one."""
    return None if value is None or np.isnan(value) else float(rounded(value))


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers of four decimals, without the unknown ones."""
    numbers = {name: plain(value) for name, value in values.items()}
    return {name: number for name, number in numbers.items() if number is not None}
