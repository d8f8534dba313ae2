"""``fewshot compare``, and the same as one call: run a study and give its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fewshot.commands.common import (
    ImageCommand,
    StudyCommand,
    check_ways,
    headline,
    shown,
    splits_of,
)
from fewshot.config import describe, load, parse
from fewshot.data.dataset import SPLITS
from fewshot.data.roots import Roots
from fewshot.data.roots import data_root as data_roots
from fewshot.environment import choose_device
from fewshot.runs import Finish, only_one, open_run
from fewshot.study.config import StudyConfig
from fewshot.study.foreign_arms import outside_code
from fewshot.study.plans import study_plan
from fewshot.study.result import StudyResult
from fewshot.study.run import Study

RESULTS = ("results.json", "table.md", "episodes.npz", "report.html")


@dataclass(frozen=True)
class CompareConfig(ImageCommand, StudyCommand, StudyConfig):
    """Compare guided with unguided encoders: arms x seeds x learners x settings, paired."""


def compare(
    config: StudyConfig | Path | str,
    *,
    output: Path | str | None = None,
    data_root: Roots | None = None,
    device: str = "auto",
    workers: int = 1,
    overrides: Mapping[str, Any] | None = None,
) -> StudyResult:
    """Run a study, as ``fewshot compare`` does: arms × seeds × learners × settings, paired.

    ``compare("configs/quickstart.yaml", overrides={"pretrain.steps": 100})`` is the command
    ``fewshot compare configs/quickstart.yaml --pretrain.steps 100``.

    Args:
        config: a configuration, or the path of a YAML file.
        output: run folder; that of ``config``, else ``runs/<study>``, if not given. What an
            earlier call or command computed there is not computed again.
        data_root: folder that holds the datasets, or several; that of ``config``, else
            ``$FEWSHOT_DATA``, else ``data``, if not given.
        device: ``cpu``, ``cuda``, or ``auto``: that of ``config``, else cuda where it is available.
        workers: processes that compute at once. With more than one, a script must call this below
            ``if __name__ == "__main__":``, because each process imports it.
        overrides: values by full key, which replace those of ``config``.

    Returns:
        ``rows``, ``verdicts`` and ``table``; ``to_frame()``; ``output``. ``print`` shows it as the
        command does.

    Raises:
        InputError: a key, class or value is unknown or impossible, or images are missing.
    """
    source = describe(config, full=True) if isinstance(config, StudyConfig) else config
    chosen = load(CompareConfig, source, overrides or {})
    if output is not None:
        chosen = replace(chosen, output=Path(output).expanduser())
    if device != "auto":
        chosen = replace(chosen, device=device)
    chosen = replace(chosen, workers=workers)
    prepared = _Prepared.from_config(chosen, data_root)
    with only_one(prepared.output):
        return prepared.result(chosen)


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    return run(parse(CompareConfig, arguments, "fewshot compare"))


def run(config: CompareConfig) -> Path:
    """Run a study, and show its result; returns the file of results."""
    prepared = _Prepared.from_config(config)
    output = prepared.output
    print(headline(config, prepared.study.splits, prepared.study.executor), flush=True)
    with only_one(output):
        if not prepared.finish.said_before(lambda: shown(StudyResult.load(output))):
            print(shown(prepared.result(config)))
    return output / RESULTS[0]


def study_of(config: CompareConfig) -> Study:
    """The study, checked and not yet planned; nothing is written."""
    return _Prepared.from_config(config).study


@dataclass(frozen=True)
class _Prepared:
    """A study whose configuration and images were checked; nothing is written yet."""

    study: Study
    output: Path
    device: str
    finish: Finish
    doubts: list[str]

    @classmethod
    def from_config(cls, config: CompareConfig, data_root: Roots | None = None) -> "_Prepared":
        device = choose_device(config.device)
        dataset = config.dataset(data_roots(data_root or config.data_root))
        check_ways(dataset, test=config.settings, validation=[config.selection])
        output = config.output or Path("runs") / config.study
        splits, doubts = splits_of(dataset, *SPLITS)
        finish = Finish.from_run(output, config, splits, device, **outside_code(config.arms))
        plan = partial(study_plan, config, dataset.roots, output, device)
        executor = config.executor_of(plan, device)
        study = Study(config, splits, output, device=device, executor=executor)
        return cls(study, output, device, finish, doubts)

    def result(self, config: CompareConfig) -> StudyResult:
        open_run(self.output, config, self.device)
        result = self.study.result(self.doubts)
        self.finish.write("\n".join(result.verdicts), RESULTS)
        return result
