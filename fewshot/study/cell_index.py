"""The index of a run folder's cells, ``cells.json``: which cell holds what of the last report."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fewshot.study.outcome import Outcome
from fewshot.study.recorded import plain_name, recorded
from guided.errors import blaming
from guided.storage.files import read_json, write_json

FILE = "cells.json"


@dataclass(frozen=True)
class Indexed:
    """One cell of a training.

    Attributes:
        arm, seed: of the encoder.
        folder: of the cell.
        learner, latents: of a meta-trained learner; None for an encoder.
    """

    arm: str
    seed: int
    folder: Path
    learner: str | None = None
    latents: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The cell's JSON-able results; empty if the cell is not there."""
        file = self.folder / "cell.json"
        facts: dict[str, Any] = read_json(file) if file.exists() else {}
        return facts


@dataclass(frozen=True)
class CellIndex:
    """Cells of a finished study.

    Attributes:
        encoders: arms in their order, for each seed.
        trainings: meta-trained learners.
        examples: folder of the examples; None if the study has none.
    """

    encoders: tuple[Indexed, ...] = ()
    trainings: tuple[Indexed, ...] = ()
    examples: Path | None = None

    @classmethod
    def load(cls, run: Path) -> "CellIndex | None":
        """The index of a run folder; None for a run without one, or whose cells are gone."""
        file = run / FILE
        if not file.exists() or not (run / "cells").is_dir():
            return None
        content = read_json(file)

        def folder(name: Any) -> Path:
            return run / "cells" / plain_name(name, "cell")

        def read(kind: str) -> tuple[Indexed, ...]:
            cells = [dict(entry) for entry in content[kind]]
            return tuple(Indexed(folder=folder(c.pop("cell")), **c) for c in cells)

        with recorded(file), blaming(str(file)):
            examples = content["examples"]
            return cls(read("encoders"), read("trainings"), folder(examples) if examples else None)

    @classmethod
    def union(cls, indices: Iterable["CellIndex | None"]) -> "CellIndex | None":
        """Of runs of one study with other seeds; None if the cells of none are at hand."""
        found = list(filter(None, indices))
        if not found:
            return None
        return cls(
            tuple(chain.from_iterable(index.encoders for index in found)),
            tuple(chain.from_iterable(index.trainings for index in found)),
            next((index.examples for index in found if index.examples), None),
        )


def write_index(outcome: Outcome, output: Path) -> None:
    """Write ``cells.json``."""
    sources = {
        key: subject.source
        for key, subject in outcome.learners.items()
        if subject.source.depends["cell"] != "encoder"
    }
    content = {
        "encoders": [
            {"arm": arm, "seed": seed, "cell": cell.name}
            for (arm, seed), cell in outcome.encoders.items()
        ],
        "trainings": [{**key._asdict(), "cell": cell.name} for key, cell in sources.items()],
        "examples": outcome.examples.name if outcome.examples else None,
    }
    write_json(output / FILE, content)
