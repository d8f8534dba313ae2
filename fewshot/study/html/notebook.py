"""Studies and their parts as a notebook shows them."""

from typing import Any
from zlib import crc32

from fewshot.config import describe, made_by
from fewshot.study.colours import arm_styles
from fewshot.study.config import StudyConfig
from fewshot.study.html.content import Content
from fewshot.study.html.findings import findings
from fewshot.study.html.markdown import blocks
from fewshot.study.html.setup import settings_text
from fewshot.study.result import StudyResult
from fewshot.study.rows import ResultRow
from fewshot.study.tables import study_table
from fewshot.study.text import arm_label, plus_minus, ways_and_shots
from guided.html.fragment import environment, fragment


def result_html(result: StudyResult) -> str:
    """Warnings, verdicts and pivoted tables of a finished comparison."""
    content = Content.of(result)
    return _rendered(
        "result.html",
        run={"findings": findings(content)},
        styles=arm_styles(content.arms),
        prefix=f"study-{crc32(repr(result.rows).encode()):x}",  # ids of two studies differ
        result=result,
    )


def row_html(row: ResultRow) -> str:
    """One row and its comparisons."""
    title = f"{arm_label(row)}, {row.learner}, {ways_and_shots(row)}:"
    text = f"{plus_minus(row.error, row.error_ci95)} % error"
    tables = [block.table for block in blocks(study_table([row])) if block.table]
    return fragment(title, text, tables=tables)


def config_html(config: StudyConfig) -> str:
    """The arms of a study, and the settings that they share; without what equals its default."""
    shared = describe(config)
    arms = {name: _text(arm) for name, arm in shared.pop("arms").items()}
    sizes = {name: len(getattr(config, name)) for name in ("arms", "seeds", "learners", "settings")}
    counted = [f"{n} {name if n > 1 else name.removesuffix('s')}" for name, n in sizes.items()]
    return _rendered(
        "config.html",
        title=f"{config.study}:",
        text=" × ".join(counted) + f" of {made_by(config.dataset).__name__}",
        s={"arms": list(arms.items()), "shared": _text(shared)},
        styles=arm_styles(arms),
    )


def settings_html(title: str, settings: Any) -> str:
    """The settings of an arm or a learner that differ from their defaults."""
    return fragment(title, code=_text(describe(settings)) or "defaults")


def _text(described: Any) -> str:
    return settings_text(described) if described else ""


def _rendered(template: str, **values: Any) -> str:
    return environment(__package__).get_template(template).render(level=4, beside="", **values)
