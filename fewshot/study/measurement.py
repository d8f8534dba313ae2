"""A typed measurement of an encoder's latents, in JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Measurement:
    """One number about an encoder's latents beside the same of its other latents.

    Attributes:
        arm: name of the encoder.
        measure: the quantity, in words.
        unit: ``%``, or empty for a pure number.
        target: of the latents that are meant to carry it.
        other: of all other latents.
        seed: of the pretraining; None outside a study.
        details: further JSON-able facts, by name.
    """

    arm: str
    measure: str
    unit: str
    target: float
    other: float
    seed: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def further(self, digits: int = 3) -> list[tuple[str, str, str]]:
        """Lines that stand below it in a table: name, value of target and of other latents."""
        found, more = [], self.details
        if "across_images" in more:
            found.append(("across images", f"{more['across_images']:.{digits}f}", ""))
        if "other_max" in more:
            found.append(("best of the others", "", f"{more['other_max']:.{digits}f}"))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; ``seed`` only where there is one."""
        seed = {} if self.seed is None else {"seed": self.seed}
        known = ("measure", "unit", "target", "other")
        return {"arm": self.arm, **seed, **{n: getattr(self, n) for n in known}, **self.details}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The measurement that :meth:`to_json` described."""
        known = {f.name for f in fields(cls)} - {"details"}
        details = {name: value for name, value in values.items() if name not in known}
        return cls(**{n: v for n, v in values.items() if n in known}, details=details)
