"""The comparison of encoders, as one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot.commands.common import check_ways
from fewshot.commands.compare import CompareConfig
from fewshot.config import describe, load
from fewshot.data.roots import Roots
from fewshot.data.roots import data_root as roots
from fewshot.environment import choose_device
from fewshot.runs import open_run
from fewshot.study.config import StudyConfig
from fewshot.study.result import StudyResult
from fewshot.study.run import Study


def compare(
    config: StudyConfig | Path | str,
    *,
    output: Path | str | None = None,
    data_root: Roots | None = None,
    device: str = "auto",
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
        overrides: values by full key, which replace those of ``config``.

    Returns:
        ``rows``, ``verdicts`` and ``table``, which ``print`` shows; ``to_frame()``; ``output``.

    Raises:
        InputError: a key, class or value is unknown or impossible, or images are missing.
    """
    chosen = _chosen(config, overrides or {})
    device = choose_device(chosen.device if device == "auto" else device)
    dataset = chosen.dataset(roots(data_root or chosen.data_root))
    check_ways(dataset, test=chosen.settings, validation=chosen.settings[:1])
    splits = dataset.splits()
    folder = Path(output or chosen.output or Path("runs") / chosen.study).expanduser()
    study = Study(chosen, splits, folder, device=device)
    open_run(folder, chosen, device)
    return study.result()


def _chosen(config: StudyConfig | Path | str, overrides: Mapping[str, Any]) -> CompareConfig:
    source = describe(config) if isinstance(config, StudyConfig) else config
    return load(CompareConfig, source, overrides)
