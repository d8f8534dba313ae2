"""Numbers, intervals and labels as text: the one place where they are rounded for reading."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fewshot.study.published import Published
from fewshot.study.rows import LatentsRow, LearnerRow, Pair, Row

if TYPE_CHECKING:
    from fewshot.episodes import Setting

NONE = "–"
STANDS = "†"


def fixed(value: float | None, digits: int = 2, sign: str = "") -> str:
    """A number of so many digits, or a dash."""
    return NONE if value is None else f"{value:{sign}.{digits}f}"


def span(interval: Sequence[float] | None, digits: int = 2, sign: str = "") -> str:
    """An interval, or a dash."""
    return NONE if interval is None else " … ".join(fixed(end, digits, sign) for end in interval)


def plus_minus(value: float | None, interval: Sequence[float] | None, digits: int = 1) -> str:
    """A number and half the width of its interval, if it has one."""
    if interval is None:
        return fixed(value, digits)
    return f"{fixed(value, digits)} ± {fixed((interval[1] - interval[0]) / 2, digits)}"


def marked(pair: Pair, digits: int = 1) -> str:
    """A paired difference, and a mark if it is significant after Holm's correction."""
    return fixed(pair.difference, digits, "+") + (f" {STANDS}" if pair.stands else "")


def paired(pair: Pair | None, digits: int = 1) -> str:
    """A paired difference, its interval, and the mark of :func:`marked`."""
    if pair is None or pair.difference is None:
        return ""
    interval = f" ({span(pair.ci95, digits, '+')})" if pair.ci95 else ""
    return fixed(pair.difference, digits, "+") + interval + (f" {STANDS}" if pair.stands else "")


def ways_and_shots(row: "LearnerRow | Setting") -> str:
    """A setting, or that of a row, in words."""
    return f"{row.n_way}-way {row.n_shot}-shot"


def arm_label(row: LearnerRow, name: str | None = None) -> str:
    """An arm, with the latents that were used unless all were."""
    name = row.arm if name is None else name
    return name if row.latents == "all" else f"{name} ({row.latents})"


def minus(rows: Sequence[Row]) -> str:
    """The heading of first differences: their common partner or group, or each row's own."""
    groups = {row.arm: row.arm_group for row in rows}
    partners = [row.pair.partner for row in rows if row.pair]
    names = {groups.get(name, name) for name in partners}
    return f"minus {names.pop() if len(names) == 1 else 'baseline'}"


def partner_label(row: Row, pair: Pair) -> str:
    """A partner, with its latents where they are others than the row's."""
    latents = getattr(row, "latents", pair.latents)
    return pair.partner if pair.latents == latents else f"{pair.partner} ({pair.latents})"


def latents_and_steps(row: LatentsRow) -> str:
    """The number of latents, and the length of training where a study has several."""
    steps = "" if row.steps is None else f", {row.steps:,} steps"
    return f"{row.latent_dim} latents{steps}"


def setting_names(rows: Iterable[LearnerRow]) -> dict[str, str]:
    """A setting's key in published figures -> the setting in words."""
    return {row.label: ways_and_shots(row) for row in rows}


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    table = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*table, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def sourced(published: Sequence[Published]) -> list[Published]:
    """Figures that have a source."""
    return [figures for figures in published if figures.source]
