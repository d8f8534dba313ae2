"""``fewshot compare``: run a study and print its answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.commands.common import StudyCommand, check_ways
from fewshot.config import parse
from fewshot.data import data_root
from fewshot.environment import choose_device
from fewshot.runs import Finish, open_run
from fewshot.study.config import StudyConfig
from fewshot.study.run import Study


@dataclass(frozen=True)
class CompareConfig(StudyCommand, StudyConfig):
    """Compare guided with unguided encoders: arms x seeds x learners x settings, paired."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    config = parse(CompareConfig, arguments, "fewshot compare")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    check_ways(dataset, test=config.settings, validation=config.settings[:1])
    splits = dataset.splits()
    output = config.output or Path("runs") / config.study
    finish = Finish.from_run(output, config, splits, device)
    if finish.said_before():
        return
    study = Study(config, splits, output, device=device)
    open_run(output, config, device)
    result = study.result()
    words = "\n".join(result.verdicts)
    print(f"\n{result}")
    print(
        f"\n{time.perf_counter() - start:.0f} s; results, figures and logs in {output}; "
        f"tensorboard --logdir {output}/tensorboard"
    )
    finish.write(words, ("results.json", "table.md", "episodes.npz"))
