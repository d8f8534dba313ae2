"""Numbers, intervals and labels as text: the one place where they are rounded for reading."""

from collections.abc import Iterable, Sequence

from fewshot.study.rows import LearnerRow, Published, Row

NONE = "–"


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


def paired(row: Row, digits: int = 1) -> str:
    """The paired difference and its interval; empty for a row without a partner."""
    if row.paired_difference is None:
        return ""
    interval = span(row.paired_difference_ci95, digits, "+")
    return f"{fixed(row.paired_difference, digits, '+')} ({interval})"


def ways_and_shots(row: LearnerRow) -> str:
    """A setting in words."""
    return f"{row.n_way}-way {row.n_shot}-shot"


def arm_label(row: LearnerRow, name: str | None = None) -> str:
    """An arm, with the latents that were used unless all were."""
    name = row.arm if name is None else name
    return name if row.latents == "all" else f"{name} ({row.latents})"


def minus(rows: Sequence[Row]) -> str:
    """The heading of differences: their common partner or group, or each row's own baseline."""
    groups = {row.arm: row.arm_group for row in rows}
    names = {groups.get(row.paired_with, row.paired_with) for row in rows if row.paired_with}
    return f"minus {names.pop() if len(names) == 1 else 'baseline'}"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    table = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*table, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def sourced(published: Sequence[Published]) -> list[Published]:
    """Figures that have a source."""
    return [figures for figures in published if figures.source]
