"""What the commands share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

# Imported for their classes, which configurations name.
import fewshot.data
import fewshot.learners
import fewshot.tasks  # noqa: F401
import guided.backbones
import guided.guidance
from fewshot.config import parse, write_yaml
from fewshot.data import Dataset
from fewshot.environment import hardware, versions
from fewshot.episodes import Setting
from guided.errors import InputError
from guided.files import write_json
from guided.training.precision import Precision

T = TypeVar("T")

for _package in (guided.backbones, guided.guidance):
    for _name in _package.__all__:
        getattr(_package, _name)


def parse_command(config_class: type[T], arguments: Sequence[str], name: str) -> T:
    """The command's configuration from its YAML file and ``--key value`` overrides."""
    return parse(config_class, arguments, f"fewshot {name}")


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
                    f"{dataset.name} has {counts[split]}"
                )


@dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """What the commands of a study have in common.

    Args:
        output: run folder; runs/<study> if not given.
        data_root: where the datasets are.
        device: auto, cpu or cuda.
    """

    output: Path | None = None
    data_root: Path | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class TrainingCommand:
    """What the commands of one training have in common.

    Args:
        data_root: where the datasets are.
        device: auto, cpu or cuda.
        precision: of the forward passes in training: float32, or bfloat16.
    """

    data_root: Path | None = None
    device: str = "auto"
    precision: Precision = "float32"


def open_run(output: Path, config: object, device: str) -> Path:
    """Create the run folder and put into it what the run was asked for and where it runs.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output: {output} cannot be created ({error.strerror})") from error
    write_yaml(output / "config.yaml", config)
    write_json(output / "environment.json", {"versions": versions(), "hardware": hardware(device)})
    return output
