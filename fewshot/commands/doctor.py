"""``fewshot doctor``: what a bug report needs, and a check of the installation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.commands.common import ImageCommand
from fewshot.config import parse
from fewshot.health import examined


@dataclass(frozen=True)
class DoctorCommand(ImageCommand):
    """Print versions, hardware, data and caches, and check the installation in ten seconds."""


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Run the command; returns what was found, with ``problems``."""
    config = parse(DoctorCommand, arguments, "fewshot doctor")
    found = examined(config.data_root, config.device)
    print("\n".join(_lines(found)))
    return found


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Each group under its name, and the verdict last."""
    for group, facts in found.items():
        if isinstance(facts, Mapping):
            yield group
            width = max(map(len, facts), default=0)
            yield from (f"  {name:<{width}}  {_text(value)}" for name, value in facts.items())
        elif group == "platform":
            yield f"{group}  {facts}"
    yield ""
    for problem in found["problems"]:
        yield f"wrong: {problem}"
    if not found["problems"]:
        yield f"everything in order ({found['seconds']} s)"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "no" if value is None or value is False else "yes" if value is True else str(value)
