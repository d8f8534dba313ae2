"""Configuration keys and checks that several commands share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fewshot.commands.help import PURPOSES
from fewshot.config import made_by
from fewshot.data import Dataset, Splits
from fewshot.data.checks import read_splits
from fewshot.data.dataset import SplitName
from fewshot.episodes import Setting
from fewshot.printing import filled, paint, width
from fewshot.study.executors import Executor, Local, Plan, Serial
from fewshot.study.result import Result
from guided.errors import InputError
from guided.progress import say
from guided.ranges import Checked, Count, PositiveShare
from guided.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Command(Checked):
    """Keys of every command.

    Args:
        device: auto, cpu or cuda; auto is cuda where it is available.
        imports: modules with classes of your own, imported before anything is read; the current
            folder is searched too.
    """

    device: str = "auto"
    imports: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ImageCommand(Command):
    """Keys of the commands that read images.

    Args:
        data_root: folder that holds the datasets, or several as in PATH; $FEWSHOT_DATA, else
            data, if not given.
    """

    data_root: Path | None = None


@dataclass(frozen=True)
class RayConfig:
    """A Ray cluster.

    Args:
        address: of a running one, e.g. auto; null: one is started on this machine.
    """

    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Command):
    """Keys of the commands that run a study.

    Args:
        output: run folder; runs/<study> if not given. For ray, on a disk that all machines share.
        executor: what computes the cells: serial, in this process; local, in worker processes on
            this machine; ray, on a Ray cluster. The numbers are the same.
        workers: processes of local; $FEWSHOT_WORKERS, else one for each core, or as many as the
            cards hold, if not given.
        gpus_per_cell: share of a card that a cell takes, in (0, 1], on a GPU.
        ray: the cluster.
    """

    output: Path | None = None
    executor: Literal["serial", "local", "ray"] = "local"
    workers: Count | None = None
    gpus_per_cell: PositiveShare = 1.0
    ray: RayConfig = field(default_factory=RayConfig)

    def executor_of(self, plan: Plan, device: str) -> Executor:
        """The executor of this command.

        Args:
            plan: makes the same plan in another process.
            device: where cells are computed.
        """
        if self.executor == "ray":
            from fewshot.study.executors.ray_cluster import RayCluster

            return RayCluster(plan, self.ray.address, self.gpus_per_cell if device != "cpu" else 0)
        cards = _cards(device)
        workers = self.workers or _default_workers() or self._room(cards)
        if self.executor == "serial" or workers == 1:
            return Serial()
        return Local(plan, workers, cards)

    def _room(self, cards: int) -> int:
        if cards:
            return cards * max(1, int(1 / self.gpus_per_cell + 1e-9))  # whole cells on each
        return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(ImageCommand):
    """Keys of the commands that train one network.

    Args:
        precision: of the forward passes in training: float32, or bfloat16.
        threads: of torch and BLAS; as many as torch takes by itself, OMP_NUM_THREADS or the cores,
            if not given. On a CPU another number changes the last bits: a training begins anew.
    """

    precision: Precision = "float32"
    threads: Count | None = None


def splits_of(dataset: Dataset, *needed: SplitName) -> tuple[Splits, list[str]]:
    """The banks of a dataset, and reasons to doubt errors on them, which are printed.

    ``needed`` are the splits that must have classes.
    """
    splits, doubts = read_splits(dataset, *needed)
    for line in doubts:
        say(f"warning: {line}")
    return splits, doubts


def headline(config: Any, splits: Splits, executor: Executor, *more: str) -> str:
    """One line: the subjects of a study, its data and its workers.

    Args:
        config: of the study.
        splits: the images.
        executor: computes the cells.
        more: further sizes of the study, such as ``2 widths``.
    """
    classes = "/".join(str(bank.n_classes) for bank in vars(splits).values())
    sizes = [_number(len(config.arms), "arm"), _number(len(config.seeds), "seed"), *more]
    workers = _number(executor.workers, "worker") if isinstance(executor, Local) else "1 worker"
    if not isinstance(executor, Serial | Local):
        workers = "a Ray cluster"
    dataset = f"{made_by(config.dataset).__name__} {classes} classes"
    return filled(" · ".join([config.study, dataset, " × ".join(sizes), workers]), width())


def _number(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def shown(result: Result[Any]) -> str:
    """A result as this terminal shows it, its seconds, and where to look further.

    The page that shows everything comes last, for ``--quiet``.

    Args:
        result: of a run that has a folder.
    """
    output, reused = result.output, result.seconds_reused
    took = f"{result.seconds - reused:.0f} s computed"
    if reused:
        took += f", {reused:.0f} s reused from earlier runs"
    look = [f"look inside: fewshot inspect {output}"] if "inspect" in PURPOSES else []
    last = [took, *look, f"logs: tensorboard --logdir {output}"]
    lines = "\n".join([*last, f"everything on one page: {output}/{result.page_name}"])
    return f"\n{result.summary(width(), paint())}\n\n{lines}"


def finished(output: Path) -> str:
    """The last line of a command whose run has a page; one line, for ``--quiet``."""
    return f"results in {output}; everything on one page: {output}/report.html"


def _cards(device: str) -> int:
    """The number of GPUs that workers share out; one if it is named."""
    if device != "cuda":
        return int(device.startswith("cuda"))
    import torch

    return torch.cuda.device_count()


def _default_workers() -> int | None:
    """The number of processes in the environment."""
    text = os.environ.get("FEWSHOT_WORKERS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"FEWSHOT_WORKERS: expected a number of at least 1, got {text!r}")
    return int(text)


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
