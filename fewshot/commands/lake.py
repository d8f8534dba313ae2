"""``fewshot lake``: Lake's one-shot classification task with a study's encoders and learners."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fewshot.commands.common import check_ways
from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data import data_root
from fewshot.environment import choose_device
from fewshot.runs import LAKE, Finish, keep_configuration, only_one, open_run
from fewshot.study.lake.classify import check_dataset, twenty_way
from fewshot.study.lake.run import LakeStudy
from fewshot.study.lake.runs import N_RUNS, draw_runs, find_archive, read_runs
from fewshot.study.plans import lake_plan
from guided.errors import InputError

MARK = "lake.finished.json"


@dataclass(frozen=True)
class LakeConfig(CompareConfig):
    """Lake's one-shot classification task, with the encoders and learners of a study.

    The study is run first, or found again in ``output``, where ``fewshot compare`` left it.

    Args:
        archive: Lake's all_runs.zip or the folder that it holds; else all_runs.zip or all_runs is
            looked for in omniglot/ below the datasets' folder and in that folder itself.
        draw: draw runs like Lake's from the evaluation characters, even where his are found; they
            are drawn as well where his are not.
        runs: how many are drawn.
        run_seed: of what is drawn.
    """

    archive: Path | None = None
    draw: bool = False
    runs: int = N_RUNS
    run_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs < 1:
            raise InputError(f"runs: expected at least 1, got {self.runs}")
        if self.run_seed < 0:
            raise InputError(f"run_seed: expected >= 0, got {self.run_seed}")
        if self.archive and self.draw:
            raise InputError(f"draw: either runs are drawn or they are those of {self.archive}")

    def study_config(self) -> CompareConfig:
        """The study alone, as ``fewshot compare`` runs it."""
        names = [field.name for field in dataclasses.fields(CompareConfig)]
        return CompareConfig(**{name: getattr(self, name) for name in names})

    def find_runs(self, root: Path) -> Path | None:
        """Find Lake's own runs; None if runs are to be drawn.

        Raises:
            InputError: no file where ``archive`` says; his runs with settings of drawn ones.
        """
        if self.archive and not self.archive.exists():
            raise InputError(f"archive: {self.archive} not found")
        found = self.archive or (None if self.draw else find_archive(root))
        if found and (self.runs, self.run_seed) != (N_RUNS, 0):
            raise InputError(
                f"runs, run_seed: for drawn runs, those of {found} are fixed: expected {N_RUNS} "
                f"and 0, or draw: true"
            )
        return found


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    config = parse(LakeConfig, arguments, "fewshot lake")
    device = choose_device(config.device)
    dataset = check_dataset(config.dataset(data_root(config.data_root)))
    check_ways(dataset, test=config.settings, validation=[config.selection])
    learners = twenty_way(config)  # before anything is read
    archive = dataset.first_found(config.find_runs)
    runs = read_runs(archive, dataset.size) if archive else None
    splits = dataset.splits()
    runs = runs or draw_runs(splits.test, config.runs, config.run_seed)
    print(f"{runs.title}: {len(runs)} runs, {runs.trials} trials")
    output = config.output or Path("runs") / config.study
    finish = Finish.from_run(output, config, splits, device, name=MARK, runs=runs.digest)
    plan = partial(lake_plan, config, dataset.roots, output, device, runs, learners)
    executor = config.executor_of(plan, device)
    study = LakeStudy(
        config, splits, runs, output, learners=learners, device=device, executor=executor
    )
    with only_one(output):
        if finish.said_before():
            return
        open_run(output, config.study_config(), device, mark=MARK)
        keep_configuration(output, "lake.yaml", config, LAKE)
        table = study.result().table
        finish.write(table, ("lake.json", "lake.npz", "lake.md"))
    print(f"\n{table}")
    print(
        f"{time.perf_counter() - start:.0f} s; lake.json, figures and logs in {output}; "
        f"tensorboard --logdir {output}/tensorboard"
    )
