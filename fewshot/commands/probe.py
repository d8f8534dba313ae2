"""``fewshot probe``: run a study of latents and print its table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.commands.common import StudyCommand
from fewshot.config import parse
from fewshot.data import data_root
from fewshot.environment import choose_device
from fewshot.runs import Finish, open_run
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.latents.run import ProbeStudy


@dataclass(frozen=True)
class ProbeConfig(StudyCommand, ProbeStudyConfig):
    """Probe latents: error of a linear classifier, quality of samples; arms x widths x seeds."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    config = parse(ProbeConfig, arguments, "fewshot probe")
    device = choose_device(config.device)
    splits = config.dataset(data_root(config.data_root)).splits()
    output = config.output or Path("runs") / config.study
    finish = Finish.from_run(output, config, splits, device)
    if finish.said_before():
        return
    study = ProbeStudy(config, splits, output, device=device)
    open_run(output, config, device)
    table = study.result().table
    print(f"\n{table}")
    print(
        f"{time.perf_counter() - start:.0f} s; results, figure and logs in {output}; "
        f"tensorboard --logdir {output}/tensorboard"
    )
    finish.write(table, ("results.json", "wrong.npz", "table.md"))
