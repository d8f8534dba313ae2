"""``fewshot probe``: run a study of latents and print its table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.commands.common import StudyCommand, open_run, parse_command
from fewshot.data import data_root
from fewshot.environment import choose_device
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.latents.run import run_latents


@dataclass(frozen=True)
class ProbeConfig(ProbeStudyConfig, StudyCommand):
    """Probe latents: error of a linear classifier, quality of samples; arms x widths x seeds."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    start = time.perf_counter()
    config = parse_command(ProbeConfig, arguments, "probe")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    output = open_run(config.output or Path("runs") / config.study, config, device)
    result = run_latents(config, dataset.splits(), output, device=device)
    print(f"\n{result.table}")
    print(
        f"{time.perf_counter() - start:.0f} s; results, figure and logs in {output}; "
        f"tensorboard --logdir {output}/tensorboard"
    )
