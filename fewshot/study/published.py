"""Errors that others report."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Self

from guided.errors import InputError
from guided.ranges import Checked, Range


@dataclass(frozen=True)
class Published(Checked):
    """Errors that others report for one method.

    Args:
        name: the method.
        errors: setting -> error in percent. A setting is a test setting's label, ``5w1s``; in a
            study of latents, their number.
        source: the publication; null: remembered only, and shown nowhere.
    """

    name: str
    errors: dict[str, Annotated[float, Range(0, 100)]]
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The figures that :meth:`to_json` described."""
        return cls(**values)

    def check(self, key: str, settings: list[str]) -> None:
        """Refuse errors for settings that the study does not have.

        Raises:
            InputError: names the key.
        """
        unknown = sorted(set(self.errors) - set(settings))
        if unknown:
            raise InputError(
                f"{key}.errors: {unknown[0]!r} is no setting of this study, expected some of "
                f"{', '.join(settings)}"
            )
