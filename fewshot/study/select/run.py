"""The scores of a selection, in resumable cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot.data.bank import ImageBank
from fewshot.environment import versions
from fewshot.study.cells import Cell, Cells
from fewshot.study.executors import Executor, Serial
from fewshot.study.select.candidates import LEAST, Found
from fewshot.study.select.score import (
    Centrality,
    Floats,
    Seen,
    agreement_row,
    factor_scores,
    factors_of,
    see,
    udr,
    usual_votes,
)
from fewshot.study.select.selection import Entry, Selection, known, plain
from guided.encoder import Encoder
from guided.seeds import derive_seed
from guided.storage.files import read_arrays, write_arrays

FORMAT = 1  # part of every digest: raise it when the same encoders come to have other scores
TRUTH = "true factors"


@dataclass(frozen=True)
class Planned:
    """The cells of a selection.

    Attributes:
        seen: digest of an encoder -> the images of UDR as it sees them.
        agreement: the rows of A of ModelCentrality, in the order of the candidates.
        factors: digest of an encoder, or ``TRUTH`` -> scores against factors.
    """

    seen: dict[str, Cell] = field(default_factory=dict)
    agreement: list[Cell] = field(default_factory=list)
    factors: dict[str, Cell] = field(default_factory=dict)


class SelectStudy:
    """Scores the encoders of finished studies, and sees what the scores would choose.

    Args:
        found: the encoders.
        images: of the training classes; those that UDR encodes are drawn from it.
        truth: of the test classes; twice as many are drawn if it has factors.
        output: cells go below its folder ``cells``.
        seed: of all that is drawn.
        n_images: for UDR.
        votes: of ModelCentrality, for each code of a model; None: see :func:`.usual_votes`.
        device: where to compute.
        executor: computes the cells.
    """

    def __init__(
        self,
        found: Found,
        images: ImageBank,
        truth: ImageBank,
        output: Path,
        *,
        seed: int = 0,
        n_images: int = 1000,
        votes: int | None = None,
        device: str = "cpu",
        executor: Executor | None = None,
    ) -> None:
        self.found, self.seed, self.device = found, seed, device
        self.executor = executor or Serial()
        self.cells = Cells(output)
        self.scored = _drawn(images, n_images, seed, "images")
        self.judged = _drawn(truth, 2 * n_images, seed, "factors")
        self.votes = votes or usual_votes(len(found.candidates))
        self.encoders: dict[str, Encoder] = {c.digest: c.encoder for c in found.candidates}
        for reference in found.references:
            self.encoders |= reference.encoders
        self._read: list[Seen] = []

    def run(self, runs: Sequence[str], facts: Mapping[str, Any]) -> Selection:
        """Compute what is missing, and judge.

        Args:
            runs: the run folders, to be named.
            facts: further ones of the selection.
        """
        planned = self.plan()
        self.executor.run(self.cells, "select")
        measured = {key: cell.facts["scores"] for key, cell in planned.factors.items()}
        encoders, agreement = self._scored(planned, measured)
        own = {"seed": self.seed, "images": len(self.scored), "votes": self.votes}
        if measured:
            own["factor_images"] = len(self.judged)
        return Selection(
            runs=tuple(runs),
            encoders=tuple(encoders),
            references=tuple(self._references(planned, measured)),
            left_out=self.found.left_out,
            agreement=agreement,
            facts={**own, "seconds": self.cells.seconds.total, **facts},
        )

    def plan(self) -> Planned:
        """The cells: of each encoder what it sees, its row of agreements, its factor scores."""
        candidates = self.found.candidates
        names = {c.digest: f"{c.arm}-seed{c.seed}" for c in candidates}
        planned = Planned()
        for digest in self.encoders:
            name = names.get(digest, "untrained")
            planned.seen[digest] = self._see(f"seen-{name}", digest)
        if sum(c.decoder is not None for c in candidates) >= LEAST:
            cells = [planned.seen[c.digest] for c in candidates]
            planned.agreement.extend(
                self._agree(f"agreement-{names[c.digest]}", row, cells)
                for row, c in enumerate(candidates)
            )
        if factors_of(self.judged) is not None:
            names[TRUTH] = "truth"
            for key in (*self.encoders, TRUTH):
                name = names.get(key, "untrained")
                planned.factors[key] = self._measure(f"factors-{name}", key)
        return planned

    def _depends(self, kind: str, **more: Any) -> dict[str, Any]:
        known_versions = {k: versions()[k] for k in ("guided-fewshot", "torch")}
        shared = {"format": FORMAT, "versions": known_versions, "device": self.device}
        return {"cell": kind, **shared, **more}

    def _see(self, name: str, digest: str) -> Cell:
        def work(cell: Cell) -> None:
            seen = see(self.encoders[digest], self.scored.images, self.device)
            write_arrays(cell.folder / "seen.npz", vars(seen))

        depends = self._depends("seen", encoder=digest, images=self.scored.digest)
        return self.cells.plan(name, depends, work)

    def _agree(self, name: str, row: int, seen: Sequence[Cell]) -> Cell:
        seed = derive_seed(self.seed, "select", "codes")

        def work(_: Cell) -> dict[str, Any]:
            self._read = self._read or [_load(cell) for cell in seen]
            agreed = agreement_row(
                self.found.candidates, self._read, row, seed, votes=self.votes, device=self.device
            )
            return {"agreement": agreed}

        depends = self._depends("agreement", row=row, seed=seed, votes=self.votes)
        return self.cells.plan(
            name, depends, work, needs={f"seen {i}": cell for i, cell in enumerate(seen)}
        )

    def _measure(self, name: str, key: str) -> Cell:
        def work(_: Cell) -> dict[str, Any]:
            scores = factor_scores(
                self.encoders.get(key), self.judged, self.seed, self.device, every=every
            )
            return {"scores": scores}

        every = key not in {c.digest for c in self.found.candidates}
        depends = self._depends("factors", encoder=key, images=self.judged.digest, seed=self.seed)
        return self.cells.plan(name, depends, work)

    def _scored(
        self, planned: Planned, measured: Mapping[str, Mapping[str, float]]
    ) -> tuple[list[Entry], list[list[float | None]] | None]:
        """The candidates with their scores, and A of ModelCentrality."""
        candidates = self.found.candidates
        seen = [_load(planned.seen[c.digest]) for c in candidates]
        scores = udr(seen, len(seen))
        agreement = _matrix(planned.agreement)
        central = None
        if agreement is not None:
            central = Centrality.of(agreement, [(c.run, c.arm) for c in candidates])
            scores["centrality"] = central.all
        entries = []
        for i, c in enumerate(candidates):
            own: dict[str, float | None] = {name: values[i] for name, values in scores.items()}
            own["elbo"] = c.elbo
            own["validation"] = None if c.validation is None else -c.validation
            entries.append(
                Entry(
                    name=c.name,
                    scores=known(own),
                    factors=known(measured.get(c.digest, {})),
                    errors=known(c.errors),
                    run=c.run,
                    arm=c.arm,
                    seed=c.seed,
                    objective=c.objective,
                    live_latents=len(seen[i].live),
                    centrality_among_other_arms=plain(central.other_arms[i]) if central else None,
                )
            )
        if agreement is None:
            return entries, None
        return entries, [[plain(value) for value in row] for row in agreement]

    def _references(
        self, planned: Planned, measured: Mapping[str, Mapping[str, float]]
    ) -> list[Entry]:
        """Untrained encoders and pixels, and the factors themselves, where there are some."""
        seen = [_load(planned.seen[c.digest]) for c in self.found.candidates]
        n = len(seen)
        found = []
        for reference in self.found.references:
            # All latents of an untrained encoder, whose posterior is nearly the prior.
            shown = [Seen.whole(_load(planned.seen[d]).means) for d in reference.encoders]
            scores = udr([*seen, *shown], n) if shown else {}
            found.append(
                Entry(
                    name=reference.name,
                    scores=known({name: values[n:].mean() for name, values in scores.items()}),
                    factors=_mean([measured.get(digest, {}) for digest in reference.encoders]),
                    errors=known(reference.errors),
                )
            )
        factors = factors_of(self.scored)
        if TRUTH in measured:
            shown = [] if factors is None else [Seen.whole(factors)]
            scores = udr([*seen, *shown], n) if shown else {}
            found.append(
                Entry(
                    name=TRUTH,
                    scores=known({name: values[n] for name, values in scores.items()}),
                    factors=known(measured[TRUTH]),
                )
            )
        return found


def _load(cell: Cell) -> Seen:
    return Seen(**read_arrays(cell.folder / "seen.npz"))


def _matrix(rows: Sequence[Cell]) -> Floats | None:
    """A of ModelCentrality, NaN where there is none; None without any."""
    if not rows:
        return None
    values = [cell.facts["agreement"] for cell in rows]
    found = np.array([[np.nan if v is None else v for v in row] for row in values])
    return None if np.isnan(found).all() else found


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in scores for name in one)
    return known({name: float(np.mean([s[name] for s in scores if name in s])) for name in names})


def _drawn(bank: ImageBank, n: int, seed: int, purpose: str) -> ImageBank:
    """At most n images of a bank, in its order."""
    rng = np.random.default_rng(derive_seed(seed, "select", purpose))
    rows = np.sort(rng.permutation(len(bank))[:n])
    return bank.rows(torch.from_numpy(rows))
