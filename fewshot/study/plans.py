"""Plans made anew in another process: functions of what can be sent there."""

from collections.abc import Sequence
from pathlib import Path

from fewshot.data.checks import read_splits
from fewshot.data.roots import Roots, data_root
from fewshot.study.cells import Cells
from fewshot.study.config import StudyConfig
from fewshot.study.lake.run import LakeStudy
from fewshot.study.lake.runs import LakeRuns
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.latents.run import ProbeStudy
from fewshot.study.nica.config import NicaStudyConfig
from fewshot.study.nica.run import NicaStudy
from fewshot.study.run import Study
from guided.progress import say


def study_plan(config: StudyConfig, roots: Roots, output: Path, device: str) -> Cells:
    """The planned cells of a study, made anew in a worker.

    Args:
        config: of the study.
        roots: folders of the datasets.
        output: the run folder.
        device: where to compute.
    """
    splits = read_splits(config.dataset(data_root(roots)))[0]
    study = Study(config, splits, output, device=device, say=say)
    study.plan()
    return study.cells


def probe_plan(config: ProbeStudyConfig, roots: Roots, output: Path, device: str) -> Cells:
    """The planned cells of a study of latents, made anew in a worker; see :func:`.study_plan`."""
    splits = read_splits(config.dataset(data_root(roots)))[0]
    study = ProbeStudy(config, splits, output, device=device, say=say)
    study.plan()
    return study.cells


def nica_plan(config: NicaStudyConfig, output: Path, device: str) -> Cells:
    """The planned cells of a study of nonlinear ICA, made anew in a worker; see
    :func:`.study_plan`."""
    study = NicaStudy(config, output, device=device, say=say)
    study.plan()
    return study.cells


def lake_plan(
    config: StudyConfig,
    roots: Roots,
    output: Path,
    device: str,
    runs: Sequence[LakeRuns],
    learners: Sequence[str],
) -> Cells:
    """The planned cells of Lake's task, made anew in a worker; see :func:`.study_plan`."""
    splits = read_splits(config.dataset(data_root(roots)))[0]
    study = LakeStudy(config, splits, runs, output, learners=learners, device=device, say=say)
    outcome, _ = study.plan()
    return outcome.cells
