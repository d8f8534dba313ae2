"""Resumable pieces of a study, each in a folder named by a digest of all that it depends on.

A finished cell is never computed again, and a changed configuration never finds a stale one,
because its digest is another.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.config import describe
from fewshot.data.dataset import DatasetFactory, Splits
from fewshot.environment import versions
from guided.files import fingerprint, write_bytes, write_json


@dataclass(frozen=True)
class Cell:
    """One folder.

    Attributes:
        folder: where its files go.
        depends: JSON-able; everything that the cell's content is a function of.
    """

    folder: Path
    depends: dict[str, Any]

    @staticmethod
    def of(parent: Path, name: str, depends: dict[str, Any]) -> "Cell":
        """The cell of these dependencies; the name only helps who looks into the folder.

        One that is there under another name is the same: two arms may share an encoder.
        """
        digest = fingerprint(depends)
        there = sorted(parent.glob(f"*-{digest}"))
        return Cell(there[0] if there else parent / f"{name}-{digest}", depends)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def done(self) -> bool:
        return self._marker.exists()

    @property
    def facts(self) -> dict[str, Any]:
        """What :meth:`finish` kept; ``seconds`` among it."""
        facts: dict[str, Any] = json.loads(self._marker.read_text())
        return facts

    def finish(self, start: float, *, keep_state: bool = False, **facts: Any) -> None:
        """Mark the cell as done. Written last: a cell without this mark does not count.

        Args:
            start: ``time.perf_counter()`` when the work on it began.
            keep_state: whether the training state stays, for a longer training to go on from.
            facts: JSON-able results small enough to live in the mark itself.
        """
        seconds = round(time.perf_counter() - start, 2)
        write_json(self._marker, {"seconds": seconds, **facts, "depends": self.depends})
        if not keep_state:
            self.state_file.unlink(missing_ok=True)

    def go_on_from(self, other: "Cell") -> None:
        """Take over the state in which a shorter training ended, unless this one has begun."""
        if not self.state_file.exists() and other.state_file.exists():
            write_bytes(self.state_file, other.state_file.read_bytes())

    @property
    def state_file(self) -> Path:
        """What training resumes from; it goes when the cell is done."""
        return self.folder / "state.pt"

    @property
    def encoder_file(self) -> Path:
        return self.folder / "encoder.safetensors"

    @property
    def decoder_file(self) -> Path:
        """The other half of a VAE that was trained with its ELBO."""
        return self.folder / "decoder.safetensors"

    @property
    def learner_file(self) -> Path:
        """The weights of a meta-trained learner that are not its encoder's."""
        return self.folder / "learner.safetensors"

    @property
    def _marker(self) -> Path:
        return self.folder / "cell.json"


def foundation(
    version: int, dataset: DatasetFactory, splits: Splits, device: str
) -> dict[str, Any]:
    """What every cell of a study depends on; JSON-able.

    The images themselves are covered: another file under the same name is noticed.

    Args:
        version: of what the same configuration means.
        dataset: where the images come from.
        splits: the images.
        device: where it is computed.
    """
    return {
        "format": version,
        "dataset": describe(dataset),
        "images": {name: bank.digest for name, bank in vars(splits).items()},
        "versions": {k: versions()[k] for k in ("guided-fewshot", "torch")},
        "device": device,
    }
