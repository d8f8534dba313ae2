"""A finished run of ``pretrain``, ``train`` or ``evaluate``, read from its folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guided.errors import InputError
from guided.storage.checksums import DamageError
from guided.storage.files import read_json

RESULTS = "results.json"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One finished run.

    Attributes:
        name: of its folder.
        folder: with its files.
        results: content of ``results.json``.
    """

    name: str
    folder: Path
    results: Mapping[str, Any]

    @classmethod
    def load(cls, source: Path) -> "FinishedRun":
        """Read a run folder, or its results.

        Raises:
            InputError: they are missing or damaged.
        """
        file = source / RESULTS if source.is_dir() else source
        try:
            results: dict[str, Any] = read_json(file)
            results["command"], results["config"], results["settings"]
        except DamageError:
            raise
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{file}: not the result of a finished run ({error})") from error
        return cls(file.parent.resolve().name, file.parent, results)

    @property
    def command(self) -> str:
        """The command that made it."""
        command: str = self.results["command"]
        return command

    @property
    def config(self) -> Mapping[str, Any]:
        """All settings as plain values."""
        config: Mapping[str, Any] = self.results["config"]
        return config

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that are not their defaults."""
        settings: Mapping[str, Any] = self.results["settings"]
        return settings


def told_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The runs, with a number behind names that several have."""
    shared, seen = Counter(run.name for run in runs), Counter[str]()
    found = []
    for run in runs:
        seen[run.name] += 1
        number = f" ({seen[run.name]})" if shared[run.name] > 1 else ""
        found.append(replace(run, name=run.name + number))
    return found


def class_name(described: Any) -> str:
    """A described value in words: of a class its name and settings."""
    if isinstance(described, list):
        return " and ".join(map(class_name, described)) or "none"
    if not isinstance(described, Mapping):
        return "none" if described is None else str(described)
    if "class_path" not in described:
        return ", ".join(f"{key} {class_name(value)}" for key, value in described.items())
    name = str(described["class_path"]).rpartition(".")[2]
    settings = class_name(described.get("init_args", {}))
    return f"{name} ({settings})" if settings else name
