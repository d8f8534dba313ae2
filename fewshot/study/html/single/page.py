"""The short page of runs of one command."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fewshot.study.html.page import write_page
from fewshot.study.html.single.evaluation import evaluation
from fewshot.study.html.single.made import differing, made
from fewshot.study.html.single.pretraining import pretraining
from fewshot.study.html.single.run import FinishedRun, told_apart
from fewshot.study.html.single.sections import Sections
from fewshot.study.html.single.training import training

SECTIONS: Mapping[str, Callable[[Sequence[FinishedRun]], Sections]] = {
    "pretrain": pretraining,
    "train": training,
    "evaluate": evaluation,
}
"""Commands that have such a page."""


def write_runs(runs: Sequence[FinishedRun], path: Path) -> None:
    """Write the page of runs of one command; several are shown side by side.

    Args:
        runs: at least one.
        path: of the page.
    """
    runs = told_apart(runs)
    write_page(
        path,
        "single.html",
        title=", ".join(run.name for run in runs),
        page=SECTIONS[runs[0].command](runs),
        made=[made(run, path) for run in runs],
        differing=differing(runs),
    )
