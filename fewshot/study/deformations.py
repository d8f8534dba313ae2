"""Checks of a study's deformations that are learned between the neighbours of an arm's encoder."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewshot.study.arm_config import ArmConfig
from fewshot.study.learner_config import LearnerConfig
from guided.augment import Augmentation
from guided.errors import InputError


def check_deformations(
    arms: Mapping[str, ArmConfig], learners: Mapping[str, LearnerConfig], pretrain: Any
) -> None:
    """Refuse deformations of arms that do not exist or need themselves, and of files.

    A study's cells are known by what they depend on: what is in a file may change.

    Args:
        arms: of the study.
        learners: of the study.
        pretrain: the study's settings of pretraining.

    Raises:
        InputError: names the key.
    """
    named = {f"arms.{name}.deformations": arm.deformations for name, arm in arms.items()}
    named |= {f"learners.{name}.deformations": own.deformations for name, own in learners.items()}
    for key, teacher in named.items():
        if teacher is None:
            continue
        if teacher not in arms:
            raise InputError(f"{key}: no arm is called {teacher!r}")
        _check_end(key, teacher, arms)
    parts = {"pretrain": pretrain}
    parts |= {f"arms.{name}": arm for name, arm in arms.items()}
    parts |= {f"learners.{name}": own for name, own in learners.items()}
    for key, part in parts.items():
        for file in learned_files(part):
            raise InputError(
                f"{key}: {file}: a study learns its deformations itself; name an arm as the "
                "deformations of the arm or the learner that uses them"
            )


def _check_end(key: str, teacher: str, arms: Mapping[str, ArmConfig]) -> None:
    """Refuse a chain of arms that leads back."""
    met: list[str] = []
    following: str | None = teacher
    while following is not None and following in arms:
        if following in met or key == f"arms.{following}.deformations":
            raise InputError(f"{key}: needs itself, by way of {', '.join([*met, following])}")
        met.append(following)
        following = arms[following].deformations


def learned_files(value: Any, name: str = "") -> Iterator[Path]:
    """Yield the files of learned deformations that a configuration names, nested in any way."""
    if isinstance(value, Augmentation):
        if value.learned is not None:
            yield value.learned
    elif isinstance(value, Path) and name == "prior":
        yield value
    elif isinstance(value, functools.partial):
        yield from learned_files(value.keywords)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from learned_files(getattr(value, field.name), field.name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from learned_files(item, key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from learned_files(item)
