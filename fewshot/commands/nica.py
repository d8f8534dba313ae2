"""``fewshot nica``: run a study of nonlinear ICA from finite samples and print its tables."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fewshot.commands.common import StudyCommand
from fewshot.config import parse
from fewshot.environment import choose_device
from fewshot.printing import paint, width
from fewshot.runs import Finish, only_one, open_run
from fewshot.study.nica.config import NicaStudyConfig
from fewshot.study.nica.report import NicaResult
from fewshot.study.nica.run import NicaStudy
from fewshot.study.plans import nica_plan

FILES = ("results.json", "table.md", "report.html", "recovery.png")


@dataclass(frozen=True)
class NicaConfig(StudyCommand, NicaStudyConfig):
    """Nonlinear ICA of mixed sources: what is recovered, by samples x widths x seeds."""


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    return run(parse(NicaConfig, arguments, "fewshot nica"))


def run(config: NicaConfig) -> Path:
    """Run a study, and show its result; returns the file of results."""
    start = time.perf_counter()
    study = study_of(config)
    output = study.output
    finish = Finish.from_run(output, config, None, study.device)
    with only_one(output):
        if finish.said_before(lambda: NicaResult.load(output).summary(width(), paint())):
            return output / FILES[0]
        open_run(output, config, study.device)
        result = study.result()
        finish.write(result.table, FILES)
    print(f"\n{result.summary(width(), paint())}")
    print(f"\n{time.perf_counter() - start:.0f} s; everything on one page: {output}/{FILES[2]}")
    return output / FILES[0]


def study_of(config: NicaConfig) -> NicaStudy:
    """The study, checked and not yet planned; nothing is written."""
    device = choose_device(config.device)
    output = config.output or Path("runs") / config.study
    executor = config.executor_of(partial(nica_plan, config, output, device), device)
    return NicaStudy(config, output, device=device, executor=executor)
