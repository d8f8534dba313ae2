"""The making of a study: the command, what each arm adds, versions, hardware, time and files."""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from fewshot.config import describe, load
from fewshot.study.config import StudyConfig
from fewshot.study.html.content import Content
from fewshot.study.result import StudyResult, revisions_of
from fewshot.study.text import fixed
from guided.errors import InputError

FILES = {
    "config.yaml": "the configuration",
    "results.json": "all rows with all numbers",
    "episodes.npz": "the wrong answers of every episode",
    "table.md": "the tables as Markdown",
    "errors.png": "errors",
    "paired_differences.png": "paired differences",
    "budgets.png": "errors against episodes of meta-training",
    "learning_curves.png": "learning curves",
    "episodes": "one episode as each arm answers it",
    "cells": "encoders, their pictures and measurements",
}


@dataclass(frozen=True)
class Setup:
    """Content of the section.

    Attributes:
        command: reproduces the study; empty without a configuration at hand.
        where: the folder to run it in, in words.
        arms: name -> what it adds to the shared settings, as YAML.
        shared: all other settings, as YAML; empty for results without a configuration.
        facts: name -> value: versions, hardware, time.
        files: link, name and content of each file.
    """

    command: str
    where: str
    arms: tuple[tuple[str, str], ...]
    shared: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, str], ...]


def setup(content: Content, page: Path) -> Setup:
    """The making of a study.

    Args:
        content: of the study.
        page: the page's file, which links are relative to.
    """
    config = lean(content.config)
    arms = {name: config.get("arms", {}).get(name, {}) for name in content.arms}
    shared = {key: value for key, value in config.items() if key != "arms"}
    result = content.result
    computed = result.seconds - result.seconds_reused
    facts = _made(result.facts)
    for run in result.facts.get("joined", ())[1:]:
        seeds = ", ".join(map(str, run["seeds"]))
        facts |= {
            f"{name}, seeds {seeds}": value
            for name, value in _made(run).items()
            if facts.get(name) != value
        }
    if (revisions := revisions_of(result.facts)) != [facts.get("git")]:
        facts["cells computed by revision"] = ", ".join(revisions)
    facts["seconds computed by this run"] = fixed(computed, 0)
    facts["seconds of earlier runs, reused"] = fixed(result.seconds_reused, 0)
    return Setup(
        *_command(content),
        tuple((name, settings_text(added) if added else "") for name, added in arms.items()),
        settings_text(shared) if shared else "",
        tuple(facts.items()),
        tuple(_files(content.file, page)),
    )


def _made(facts: Mapping[str, Any]) -> dict[str, str]:
    """Versions and hardware."""
    held = [facts.get(group) or {} for group in ("versions", "hardware")]
    return {name: str(value) for group in held for name, value in group.items() if value}


def _command(content: Content) -> tuple[str, str]:
    """The study once more, and where: from where it was started, or from its file."""
    file = content.file.with_name("config.yaml")
    if content.file.name != StudyResult.file_name:
        published = content.file.parts[-3:-1] == ("runs", "published")
        name = content.file.stem if published else str(content.file)
        where = "a checkout" if published else "the folder in which this page was made"
        return (f"fewshot reproduce {shlex.quote(name)}" if content.config else ""), where
    if not file.exists():
        return "", ""
    study = content.result.study
    run = Path(content.config.get("output") or f"runs/{study}")
    name, again = shlex.quote(str(run / file.name)), shlex.quote(f"runs/{study}-again")
    return f"fewshot compare {name} --output {again}", "the folder in which the study ran"


def lean(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what equals its default; as it is where it can't be read."""
    known = {field.name for field in dataclasses.fields(StudyConfig)}
    own = {key: value for key, value in config.items() if key in known}
    try:
        described: dict[str, Any] = describe(load(StudyConfig, own))
    except InputError:  # a class or a key that is not there any more
        return own
    return described


def settings_text(value: Any) -> str:
    """Plain values as YAML."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=88)
    return text.rstrip()


def _files(file: Path, page: Path) -> list[tuple[str, str, str]]:
    """Links relative to the page, which keep when it moves with its run."""
    names = FILES
    if file.name != StudyResult.file_name:
        counts = file.with_suffix(".npz").name
        names = {file.name: FILES[StudyResult.file_name], counts: FILES[StudyResult.counts_name]}
    base, folder = os.path.relpath(file.parent, page.parent), file.parent
    return [
        (
            quote(Path(base, name).as_posix() + ("/" if (folder / name).is_dir() else "")),
            name,
            what,
        )
        for name, what in names.items()
        if (folder / name).exists()
    ]
