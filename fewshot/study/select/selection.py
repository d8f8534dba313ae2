"""Selection without labels: what it computed, and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fewshot.data.bank import ImageBank
from fewshot.study.rows import rounded
from fewshot.study.select.candidates import Candidate, Found
from fewshot.study.select.judge import Floats, Judgement, judge, ranks
from fewshot.study.select.score import Scores, factor_scores, label_free_scores
from guided.encoder import Encoder
from guided.seeds import derive_seed

TITLES = {
    "udr_lasso": "UDR-Lasso",
    "udr_spearman": "UDR-Spearman",
    "centrality": "centrality",
    "elbo": "ELBO",
    "validation": "validation error",
}
"""Names of the scores in tables. The last reads the labels of validation classes."""


@dataclass(frozen=True)
class Selection:
    """Scores of encoders, and how far each score's choice is from the best.

    Attributes:
        runs: the run folders.
        found: the encoders, and the arms without.
        scores: of the encoders.
        truth: name of an encoder -> score against the test images' factors -> value, that of an
            untrained encoder and of the factors themselves too; empty without factors.
        facts: JSON-able facts by name: seed, numbers of images and votes.
    """

    runs: tuple[str, ...]
    found: Found
    scores: Scores
    truth: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any]

    @property
    def candidates(self) -> list[Candidate]:
        """The encoders."""
        return self.found.candidates

    @property
    def tests(self) -> list[str]:
        """Learners and settings whose errors are known of some encoder."""
        return list(dict.fromkeys(test for c in self.candidates for test in c.errors))

    @property
    def measures(self) -> list[str]:
        """Names of the scores against factors."""
        return list(dict.fromkeys(name for values in self.truth.values() for name in values))

    def errors(self, test: str) -> Floats:
        """``[candidates]``, in percent; NaN where it is unknown."""
        return np.array([c.errors.get(test, np.nan) for c in self.candidates])

    def measured(self, measure: str) -> Floats:
        """A score against factors, ``[candidates]``; NaN where it is unknown."""
        values = [self.truth.get(c.name, {}).get(measure, np.nan) for c in self.candidates]
        return np.array(values)

    @cached_property
    def judgements(self) -> dict[str, list[Judgement]]:
        """A test, or a score against factors -> the judgement of each score that exists."""
        outcomes = [(test, self.errors(test), True) for test in self.tests]
        outcomes += [(name, self.measured(name), False) for name in self.measures]
        seed = self.facts["seed"]
        judged = {
            outcome: [
                judge((score, outcome), own, values, lower_is_better=lower, seed=seed)
                for score, own in self.scores.values.items()
            ]
            for outcome, values, lower in outcomes
        }
        return {outcome: [one for one in some if one] for outcome, some in judged.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        ranked = {name: ranks(values) for name, values in self.scores.values.items()}
        return {
            "runs": list(self.runs),
            **self.facts,
            "encoders": [
                {
                    **{"name": c.name, "run": c.run, "arm": c.arm, "seed": c.seed},
                    "live_latents": self.scores.live[i],
                    "scores": {name: _plain(v[i]) for name, v in self.scores.values.items()},
                    "ranks": {name: places[i] for name, places in ranked.items()},
                    "centrality_among_other_arms": (
                        None if self.scores.others is None else _plain(self.scores.others[i])
                    ),
                    "errors": {test: rounded(error) for test, error in c.errors.items()},
                }
                for i, c in enumerate(self.candidates)
            ],
            "left_out": dict(self.found.left_out),
            "agreement": (
                None
                if self.scores.agreement is None
                else [[_plain(value) for value in row] for row in self.scores.agreement]
            ),
            "factors": {
                name: {k: rounded(v) for k, v in f.items()} for name, f in self.truth.items()
            },
            "judgements": [
                vars(one) | {"chosen": self.candidates[one.chosen].name, "ci95": _span(one)}
                for some in self.judgements.values()
                for one in some
            ],
        }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else rounded(value)


def _span(judgement: Judgement) -> list[float] | None:
    return None if judgement.ci95 is None else list(rounded(judgement.ci95))


def select(
    runs: tuple[str, ...],
    found: Found,
    images: ImageBank,
    truth: ImageBank,
    untrained: Encoder,
    *,
    seed: int = 0,
    n_images: int = 1000,
    votes: int = 20,
    device: str = "cpu",
) -> Selection:
    """Score encoders without labels, and see what the scores would choose.

    Args:
        runs: the run folders, to be named.
        found: the encoders.
        images: of the training classes; those that UDR encodes are drawn from it.
        truth: of the test classes; twice as many are drawn if it has factors.
        untrained: shown beside the others where there are factors.
        seed: of all that is drawn.
        n_images: for UDR.
        votes: of ModelCentrality, for each code of a model.
        device: where to compute.
    """
    scored = _drawn(images, n_images, seed, "images")
    judged = _drawn(truth, 2 * n_images, seed, "factors")
    scores = label_free_scores(
        found.candidates,
        scored.images,
        derive_seed(seed, "select", "codes"),
        votes=votes,
        device=device,
    )
    encoders = {c.name: c.encoder for c in found.candidates} | {"untrained": untrained}
    factors = factor_scores(encoders, judged, seed, device)
    facts = {"seed": seed, "images": len(scored), "votes": votes}
    if factors:
        facts["factor_images"] = len(judged)
    return Selection(runs, found, scores, factors, facts)


def _drawn(bank: ImageBank, n: int, seed: int, purpose: str) -> ImageBank:
    """At most n images of a bank, in its order."""
    import torch

    rng = np.random.default_rng(derive_seed(seed, "select", purpose))
    rows = np.sort(rng.permutation(len(bank))[:n])
    return bank.rows(torch.from_numpy(rows))
