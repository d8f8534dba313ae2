"""The making of runs: commands, settings that differ, versions, hardware, time and files."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from fewshot.runs import PLACES
from fewshot.study.html.plain import flat
from fewshot.study.html.single.run import FinishedRun
from guided.html.fragment import Table

FILES = {
    "config.yaml": "the configuration",
    "results.json": "all numbers",
    "encoder.safetensors": "the encoder",
    "decoder.safetensors": "the decoder of its VAE",
    "learner.safetensors": "the learner's own weights",
    "episodes.npz": "the error of every episode",
    "confusion.csv": "which class was taken for which, how often",
    "examples.npz": "the episodes that are shown",
    "sheets": "pictures at their own resolution",
    "cells": "states that a longer training goes on from",
}


@dataclass(frozen=True)
class Made:
    """The making of one run.

    Attributes:
        name: of the run.
        command: makes it again.
        settings: what is not its default, as YAML.
        facts: name -> value: versions, hardware, time.
        files: link, name and content of each file.
    """

    name: str
    command: str
    settings: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, str], ...]


def made(run: FinishedRun, page: Path) -> Made:
    """The making of a run.

    Args:
        run: the run.
        page: the page's file, which links are relative to.
    """
    output = Path(run.config.get("output") or f"runs/{run.command}")
    config, again = (shlex.quote(str(p)) for p in (output / "config.yaml", f"{output}-again"))
    own = {name: value for name, value in run.settings.items() if name not in PLACES}
    settings = yaml.safe_dump(own, sort_keys=False, allow_unicode=True, width=88)
    base = os.path.relpath(run.folder, page.parent)
    files = [(Path(base, name).as_posix(), name, what) for name, what in FILES.items()]
    return Made(
        run.name,
        f"fewshot {run.command} {config} --output {again}",
        settings.rstrip(),
        tuple(flat(run.results).items()),
        tuple(
            (quote(link + "/" * (run.folder / name).is_dir()), name, what)
            for link, name, what in files
            if (run.folder / name).exists()
        ),
    )


def differing(runs: Sequence[FinishedRun]) -> Table | None:
    """The settings in which runs differ, a line each; None if there are none."""
    flattened = [dict(_flat(run.config, "")) for run in runs]
    # A default that differs from another default comes with a class, which is named.
    keys = dict.fromkeys(key for run in runs for key, _ in _flat(run.settings, ""))
    lines = []
    for key in keys:
        values = [one.get(key, "–") for one in flattened]
        if key.partition(".")[0] not in PLACES and len(set(values)) > 1:
            lines.append((key, *values))
    if not lines:
        return None
    return Table("Settings that differ", ("setting", *(run.name for run in runs)), tuple(lines))


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for number, item in enumerate(value):
            yield from _flat(item, f"{key}.{number}")
    else:
        yield key, "none" if value in (None, [], {}) else str(value)
