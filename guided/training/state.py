"""The state of a training run, and the file from which it resumes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guided.encoder import Encoder
from guided.errors import InputError
from guided.readers.torch_files import check_torch_file
from guided.storage.checksums import check_archive
from guided.storage.files import write_archive

Score = Callable[[Encoder], float]
"""A score of an encoder on validation data; lower is better."""


@dataclass
class Progress:
    """Steps done and validations made so far.

    Attributes:
        step: steps done.
        best_score: lowest validation score so far.
        best_step: the step of that validation.
        history: one entry per validation, with ``step``, and ``score`` if there is one.
    """

    step: int = 0
    best_score: float = math.inf
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def record(self, values: Mapping[str, float]) -> bool:
        """Enter a validation; true if it is the best so far.

        Args:
            values: of which ``score`` is compared, lower is better; without it the last is best.
        """
        self.history.append({"step": self.step, **values})
        score = values.get("score")
        if score is not None:
            if not score < self.best_score:  # also false for NaN
                return False
            self.best_score = score
        self.best_step = self.step
        return True

    def exhausted(self, patience: int) -> bool:
        """True if ``patience`` validations have passed since the best one; never for 0."""
        stale = sum(1 for entry in self.history if entry["step"] > self.best_step)
        return 0 < patience <= stale


@dataclass
class ResumableState:
    """The resumable state of a training loop: modules, optimizers and progress.

    Args:
        parts: name -> module or optimizer, whose ``state_dict`` is kept.
        progress: replaced by the stored one in :meth:`restore`.
    """

    parts: Mapping[str, nn.Module | torch.optim.Optimizer]
    progress: Progress = field(default_factory=Progress)

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        write_archive(
            path, lambda handle: torch.save(state | {"progress": vars(self.progress)}, handle)
        )

    def resume(self, path: Path | None) -> None:
        """As :meth:`restore`, if there is a file."""
        if path and path.exists():
            self.restore(path)

    def restore(self, path: Path) -> None:
        """Continue from the state in ``path``.

        Raises:
            InputError: the file is damaged, or another model's.
        """
        try:
            check_archive(path)
            check_torch_file(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.progress = Progress(**state["progress"])
        except Exception as error:  # a damaged file raises one of many kinds
            raise InputError(
                f"{path}: damaged, or not a state of this training; delete it to start again"
            ) from error


def check_finite(terms: Mapping[str, Tensor | float], step: int, learning_rate: float) -> None:
    """Refuse losses that are NaN or infinite.

    Raises:
        InputError: a term is not finite; names it.
    """
    for name, term in terms.items():
        value = float(term.detach() if isinstance(term, Tensor) else term)
        if not math.isfinite(value):
            raise InputError(
                f"{name}: the loss is {value} at step {step}; "
                f"lower learning_rate ({learning_rate:g}) or the term's weight"
            )
