"""The comparison of encoders, as one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewshot.study.config import StudyConfig


def compare(
    config: StudyConfig | Path | str,
    *,
    output: Path | str | None = None,
    data_root: Path | str | None = None,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """Run a study."""
    raise NotImplementedError
