"""Configuration keys and checks that several commands share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewshot.data import Dataset
from fewshot.episodes import Setting
from guided.errors import InputError
from guided.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Command:
    """Keys of every command.

    Args:
        data_root: folder that holds the datasets, or several as in PATH; $FEWSHOT_DATA, else
            data, if not given.
        device: auto, cpu or cuda; auto is cuda where it is available.
        imports: modules with classes of your own, imported before anything is read; the current
            folder is searched too.
    """

    data_root: Path | None = None
    device: str = "auto"
    imports: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Command):
    """Keys of the commands that run a study.

    Args:
        output: run folder; runs/<study> if not given.
    """

    output: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command):
    """Keys of the commands that train one network.

    Args:
        precision: of the forward passes in training: float32, or bfloat16.
    """

    precision: Precision = "float32"


def check_ways(dataset: Dataset, **settings: Sequence[Setting]) -> None:
    """Refuse episodes of more classes than a split has, before anything is read.

    Args:
        dataset: may or may not know its number of classes beforehand.
        settings: split -> shapes of the episodes drawn from it.

    Raises:
        InputError: names the setting and the split.
    """
    counts: dict[str, int] = {str(k): v for k, v in dataset.class_counts().items()}
    for split, shapes in settings.items():
        for shape in shapes:
            if shape.n_way > counts.get(split, shape.n_way):
                raise InputError(
                    f"n_way: {shape.n_way} classes asked for, the {split} set of "
                    f"{dataset.name} has {counts[split]}; choose a smaller n_way"
                )
