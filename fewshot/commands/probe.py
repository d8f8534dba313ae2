"""``fewshot probe``: run a study of latents and print its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fewshot.commands.common import ImageCommand, StudyCommand, headline, shown, splits_of
from fewshot.config import parse
from fewshot.data import data_root
from fewshot.data.dataset import SPLITS
from fewshot.environment import choose_device
from fewshot.runs import Finish, only_one, open_run
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.latents.report import LatentsResult
from fewshot.study.latents.run import ProbeStudy
from fewshot.study.plans import probe_plan

FILES = ("results.json", "wrong.npz", "table.md", "report.html")


@dataclass(frozen=True)
class ProbeConfig(ImageCommand, StudyCommand, ProbeStudyConfig):
    """Probe latents: error of a linear classifier, quality of samples; arms x widths x seeds."""


def main(arguments: Sequence[str]) -> Path:
    """Run the command; returns the file of results."""
    return run(parse(ProbeConfig, arguments, "fewshot probe"))


def run(config: ProbeConfig) -> Path:
    """Run a study, and show its result; returns the file of results."""
    study = study_of(config)
    output = study.output
    finish = Finish.from_run(output, config, study.splits, study.device)
    lengths = [f"{len(config.latent_dims)} numbers of latents"] * (len(config.latent_dims) > 1)
    print(headline(config, study.splits, study.executor, *lengths), flush=True)
    with only_one(output):
        if finish.said_before(lambda: shown(LatentsResult.load(output))):
            return output / FILES[0]
        open_run(output, config, study.device)
        result = study.result()
        finish.write(result.table, FILES)
    print(shown(result))
    return output / FILES[0]


def study_of(config: ProbeConfig) -> ProbeStudy:
    """The study, checked and not yet planned; nothing is written."""
    device = choose_device(config.device)
    roots = data_root(config.data_root)
    splits, _ = splits_of(config.dataset(roots), *SPLITS)
    output = config.output or Path("runs") / config.study
    executor = config.executor_of(partial(probe_plan, config, roots, output, device), device)
    return ProbeStudy(config, splits, output, device=device, executor=executor)
