"""``fewshot compare``: run a study and print its answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.commands.common import StudyCommand, check_ways, open_run, parse_command
from fewshot.data import data_root
from fewshot.environment import choose_device
from fewshot.study.config import StudyConfig
from fewshot.study.run import run_study


@dataclass(frozen=True)
class CompareConfig(StudyConfig, StudyCommand):
    """Compare guided with unguided encoders: arms x seeds x learners x settings, paired."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    config = parse_command(CompareConfig, arguments, "compare")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    check_ways(dataset, test=config.settings, validation=config.settings[:1])
    output = open_run(config.output or Path("runs") / config.study, config, device)
    result = run_study(config, dataset.splits(), output, device=device)
    print(f"\n{result}")
    print(
        f"\n{time.perf_counter() - start:.0f} s; results, figures and logs in {output}; "
        f"tensorboard --logdir {output}/tensorboard"
    )
