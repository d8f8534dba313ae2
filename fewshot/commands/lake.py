"""``fewshot lake``: Lake's one-shot classification task with a study's encoders and learners."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fewshot.commands.common import check_ways, headline, shown, splits_of
from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data import Dataset, data_root
from fewshot.environment import choose_device
from fewshot.runs import LAKE, Finish, keep_configuration, only_one, open_run
from fewshot.study.foreign_arms import outside_code
from fewshot.study.lake.classify import check_dataset, twenty_way
from fewshot.study.lake.report import LakeResult
from fewshot.study.lake.run import LakeStudy
from fewshot.study.lake.runs import REMEDY, Source, draw_runs, find_archive, read_runs
from fewshot.study.plans import lake_plan
from guided.errors import InputError
from guided.ranges import Count, Whole

MARK = "lake.finished.json"
FILES = ("lake.json", "lake.npz", "lake.md", "lake.html")
N_DRAWN = 200


@dataclass(frozen=True)
class LakeConfig(CompareConfig):
    """Lake's one-shot classification task, with the encoders and learners of a study.

    These are trained first, or found again in ``output``, where ``fewshot compare`` left them. The
    study's own test is not run.

    Args:
        runs: own: Lake's own twenty runs; drawn: more, drawn like them from the evaluation
            characters; null: both, or the drawn ones alone where his are not found.
        archive: Lake's all_runs.zip or the folder that it holds; else all_runs.zip or all_runs is
            looked for in omniglot/ below the datasets' folder and in that folder itself.
        drawn: how many runs are drawn.
        run_seed: of what is drawn.
    """

    runs: list[Source] | None = None
    archive: Path | None = None
    drawn: Count = N_DRAWN
    run_seed: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs is not None and len(set(self.runs)) != max(len(self.runs), 1):
            raise InputError(f"runs: expected own, drawn or both, got {self.runs}")
        if self.archive and self.runs == ["drawn"]:
            raise InputError(
                f"archive: {self.archive} holds Lake's own runs, which runs leaves out"
            )
        if self.archive and not self.archive.exists():
            raise InputError(f"archive: {self.archive} not found")
        if self.runs == ["own"] and (self.drawn, self.run_seed) != (N_DRAWN, 0):
            raise InputError("drawn, run_seed: for drawn runs, which runs leaves out")

    def study_config(self) -> CompareConfig:
        """The study alone, as ``fewshot compare`` runs it."""
        names = [field.name for field in dataclasses.fields(CompareConfig)]
        return CompareConfig(**{name: getattr(self, name) for name in names})

    def find_archive(self, dataset: Dataset) -> Path | None:
        """Lake's own runs; None if drawn ones alone are wanted, or there.

        Raises:
            InputError: they are wanted and nowhere found.
        """
        if self.runs == ["drawn"]:
            return None
        found = self.archive or dataset.first_found(find_archive)
        if not found and self.runs:
            folders = ", ".join(str(root / "omniglot") for root in dataset.roots)
            raise InputError(f"runs: own, but no all_runs.zip in {folders}; {REMEDY}")
        if not found:
            print(f"Lake's own runs are not found, so drawn ones alone are used; {REMEDY}")
        return found


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    return run(parse(LakeConfig, arguments, "fewshot lake"))


def run(config: LakeConfig) -> Path:
    """Classify the runs, and show the result; returns the file of results."""
    lake = study_of(config)
    output, device, splits = lake.output, lake.device, lake.study.splits
    facts = {"runs": [kind.digest for kind in lake.runs], **outside_code(config.arms)}
    finish = Finish.from_run(output, config, splits, device, name=MARK, **facts)
    print(headline(config, splits, lake.executor), flush=True)
    with only_one(output):
        if finish.said_before(lambda: shown(LakeResult.load(output))):
            return output / FILES[0]
        open_run(output, config.study_config(), device, mark=MARK)
        keep_configuration(output, "lake.yaml", config, LAKE)
        result = lake.result()
        finish.write(result.table, FILES)
    print(shown(result))
    return output / FILES[0]


def study_of(config: LakeConfig) -> LakeStudy:
    """The study, checked and not yet planned; nothing is written."""
    device = choose_device(config.device)
    dataset = check_dataset(config.dataset(data_root(config.data_root)))
    check_ways(dataset, test=config.settings, validation=[config.selection])
    learners = twenty_way(config, print)  # before anything is read
    archive = config.find_archive(dataset)
    runs = [read_runs(archive, dataset.size)] if archive else []
    splits, _ = splits_of(dataset)
    if config.runs is None or "drawn" in config.runs:
        runs.append(draw_runs(splits.test, config.drawn, config.run_seed))
    for kind in runs:
        print(f"{kind.title}: {len(kind)} runs, {kind.trials} trials")
    output = config.output or Path("runs") / config.study
    plan = partial(lake_plan, config, dataset.roots, output, device, runs, learners)
    executor = config.executor_of(plan, device)
    return LakeStudy(
        config, splits, runs, output, learners=learners, device=device, executor=executor
    )
