"""Results as a person reads them in a terminal: arms down, settings across, and what marks mean."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fewshot.printing import Paint, cut, filled, plain
from fewshot.study.published import Published
from fewshot.study.rows import Interval, LearnerRow, Pair, Row
from fewshot.study.tables import counted
from fewshot.study.text import (
    STANDS,
    arm_label,
    fixed,
    markdown,
    sourced,
    ways_and_shots,
)

APART = "*"
GAP = "   "


@dataclass(frozen=True)
class Entry:
    """One number of a pivoted table.

    Attributes:
        title: of its block of lines, such as the learner.
        line, column: where it stands.
        value: in percent, or in the unit of the title.
        interval: of the value, if it has one.
        pair: the comparison that is shown behind it.
        digits: of the value.
        sign: ``+`` for a difference.
        mark: shown behind all.
    """

    title: str
    line: str
    column: str
    value: float | None
    interval: Interval | None = None
    pair: Pair | None = None
    digits: int = 1
    sign: str = ""
    mark: str = ""


def pivot(entries: Sequence[Entry], width: int, paint: Paint = plain) -> str:
    """A table with a block for each title, no wider than the terminal.

    A cell is a value, half its interval, the paired difference and its marks. Columns that find no
    room follow below.

    Args:
        entries: the numbers.
        width: of the terminal.
        paint: gives texts a style.
    """
    places = {(e.title, e.line, e.column): _Cell.of(e) for e in entries}
    widths = [max(len(cell.texts[i]) for cell in places.values()) for i in range(4)]
    names = list(dict.fromkeys(entry.column for entry in entries))
    gaps = bool(widths[1]) + 2 * bool(widths[2]) + bool(widths[3])
    column = max(sum(widths) + gaps, *map(len, names))
    longest = max(max(len(entry.title), len(entry.line) + 2) for entry in entries)
    label = max(min(longest, width - column - len(GAP)), 6)
    at_once = max((width - label) // (column + len(GAP)), 1)
    lines = []
    for title, of_title in groupby(entries, key=lambda entry: entry.title):
        arms = list(dict.fromkeys(entry.line for entry in of_title))
        for block in (names[i : i + at_once] for i in range(0, len(names), at_once)):
            head = GAP.join(name.ljust(column) for name in block).rstrip()
            lines.append(paint(cut(title, label).ljust(label) + GAP + head, "bold"))
            for arm in arms:
                found = [places.get((title, arm, name), _EMPTY) for name in block]
                shown = GAP.join(cell.text(widths, column, paint) for cell in found)
                lines.append((cut(f"  {arm}", label).ljust(label) + GAP + shown).rstrip())
    return "\n".join(lines)


def pivot_markdown(entries: Sequence[Entry]) -> str:
    """The same table as Markdown, one for each title: a value, half its interval, the paired
    difference and its marks."""
    places = {(e.title, e.line, e.column): _Cell.of(e) for e in entries}
    names = list(dict.fromkeys(entry.column for entry in entries))
    tables = []
    for title, of_title in groupby(entries, key=lambda entry: entry.title):
        lines = dict.fromkeys(entry.line for entry in of_title)
        found = ([places.get((title, line, name), _EMPTY) for name in names] for line in lines)
        cells = ([cell.words for cell in row] for row in found)
        rows = [[line, *row] for line, row in zip(lines, cells, strict=True)]
        tables.append(markdown([title, *names], rows).replace(APART, rf"\{APART}"))
    return "\n".join(tables)


@dataclass(frozen=True)
class _Cell:
    texts: tuple[str, str, str, str]
    style: str | None

    @classmethod
    def of(cls, entry: Entry) -> "_Cell":
        half = (entry.interval[1] - entry.interval[0]) / 2 if entry.interval else None
        difference = entry.pair.difference if entry.pair else None
        apart = entry.pair is not None and entry.pair.apart
        texts = (
            fixed(entry.value, entry.digits, entry.sign),
            "" if half is None else f"±{fixed(half, entry.digits)}",
            "" if difference is None else fixed(difference, 1, "+"),
            APART * apart + STANDS * (entry.pair is not None and entry.pair.stands) + entry.mark,
        )
        return cls(texts, ("lower" if (difference or 0) < 0 else "higher") if apart else None)

    @property
    def words(self) -> str:
        value, half, difference, mark = self.texts
        own, behind = f"{value} {half}".strip(), f"{difference} {mark}".strip()
        return f"{own}, {behind}" if behind else own

    def text(self, widths: Sequence[int], column: int, paint: Paint) -> str:
        value, half, difference, mark = self.texts
        own = value.rjust(widths[0]) + (" " + half.rjust(widths[1]) if widths[1] else "")
        behind = f"  {difference.rjust(widths[2])}" if widths[2] else ""
        behind = f"{behind} {mark}".rstrip()
        padding = " " * (column - len(own) - len(behind))
        return own + (paint(behind, self.style) if self.style else behind) + padding


_EMPTY = _Cell(("", "", "", ""), None)


def learner_entries(
    rows: Sequence[LearnerRow], column: Callable[[Any], str] = ways_and_shots
) -> list[Entry]:
    """The errors of rows by learner, arm and setting, each with its first comparison."""
    order = list(dict.fromkeys(row.learner for row in rows))
    return [
        Entry(row.learner, arm_label(row), column(row), row.error, row.error_ci95, row.pair)
        for row in sorted(rows, key=lambda row: order.index(row.learner))
    ]


def published_entries(published: Iterable[Published], names: dict[str, str]) -> list[Entry]:
    """Errors that others report, by the columns' names."""
    return [
        Entry("reported by others", f"{figures.name}, {figures.source}", name, figures.errors[key])
        for figures in sourced(list(published))
        for key, name in names.items()
        if key in figures.errors
    ]


def legend(rows: Sequence[Row], units: str, width: int) -> str:
    """The meaning of the numbers and marks, and how many comparisons there are."""
    pairs = [row.pair for row in rows if row.pair]
    several = len(rows[0].seeds) > 1
    over = f"seeds and {units}" if several else f"{units} of one seed"
    words = f"Errors in %, ± half their 95 % interval over {over}"
    if not pairs:
        return filled(f"{words}.", width)
    partners = {pair.partner for pair in pairs}
    against = partners.pop() if len(partners) == 1 else "each arm's first partner"
    lines = [f"{words}; then the difference to {against}."]
    if any(pair.apart for pair in pairs):
        seeds = "" if several else f", over {units} alone: another seed may differ"
        lines.append(f"{APART} 95 % paired interval excludes 0{seeds}")
    if any(pair.stands for pair in pairs):
        lines.append(f"{STANDS} still does after Holm's correction for all comparisons")
    return "\n".join(filled(line, width) for line in (*lines, counted(rows)))


def summary(
    rows: Sequence[Row],
    units: str,
    blocks: Sequence[Sequence[Entry]],
    width: int,
    paint: Paint = plain,
) -> str:
    """The tables of a result, and the words that explain them."""
    tables = [pivot(entries, width, paint) for entries in blocks if entries]
    return "\n".join([tables[0], legend(rows, units, width), *(f"\n{t}" for t in tables[1:])])
