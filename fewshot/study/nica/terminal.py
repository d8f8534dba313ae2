"""The tables of recovered sources as a terminal shows them."""

from fewshot.printing import Paint, filled, plain
from fewshot.statistics import t_interval
from fewshot.study.nica.scores import LEARNED, Floats, Measure, Recoveries
from fewshot.study.nica.tables import all_methods, differences, shown_methods
from fewshot.study.pivot import Entry, pivot
from fewshot.study.text import STANDS

TITLES: dict[Measure, str] = {"mcc": "MCC", "information": "nats"}
LEGEND = (
    "Means over seeds, ± half Student's 95 % interval. MCC: rank correlation of held-out codes and "
    "sources, 1 at best; nats: their mutual information; samples: of each segment."
)
MARK = f"{STANDS} significant after Holm's correction for all differences of its measure"


def terminal_tables(
    found: Recoveries, *, squares: bool, width: int = 80, paint: Paint = plain
) -> str:
    """Recovery, then paired differences of widths and of numbers of samples.

    Args:
        found: the scores.
        squares: show correlations with the sources' squares, too.
        width: of the terminal.
        paint: gives texts a style.
    """
    tables = [_recovered(found, measure) for measure in TITLES]
    if squares:
        tables.append(_order(found))
    compared = [table for measure in TITLES for table in _compared(found, measure)]
    shown = [pivot(entries, width, paint) for entries in [*tables, *compared]]
    shown.insert(len(tables), filled(LEGEND, width))
    marked = any(entry.mark for table in compared for entry in table)
    return "\n\n".join([*shown, *([filled(MARK, width)] if marked else [])])


def _recovered(found: Recoveries, measure: Measure) -> list[Entry]:
    names = {
        (name, width): f"width {width}" if name == LEARNED else name
        for name, width in shown_methods(found)
    }
    return [
        _entry(TITLES[measure], f"{n:,} samples", name, found.seeds_of(*condition, n, measure))
        for n in found.samples
        for condition, name in names.items()
    ]


def _order(found: Recoveries) -> list[Entry]:
    columns: dict[str, Measure] = {"sources": "mcc", "their squares": "mcc_squares"}
    return [
        _entry(
            name if width is None else f"{name}, width {width}",
            f"{n:,} samples",
            f"MCC with {column}",
            found.seeds_of(name, width, n, measure),
        )
        for name, width in all_methods(found)
        for n in found.samples
        for column, measure in columns.items()
    ]


def _compared(found: Recoveries, measure: Measure) -> list[list[Entry]]:
    """Differences between widths, and between numbers of samples; only those that there are."""
    title = f"{TITLES[measure]}, difference"
    grouped: dict[bool, list[Entry]] = {}
    for one in differences(found, measure):
        entry = _entry(title, one.line, one.column, one.values, one.stands)
        grouped.setdefault(one.of_widths, []).append(entry)
    return list(grouped.values())


def _entry(title: str, line: str, column: str, values: Floats, stands: bool | None = None) -> Entry:
    """A mean over seeds; a difference where ``stands`` is given."""
    sign = "" if stands is None else "+"
    mark = STANDS if stands else ""
    interval = t_interval(values)
    return Entry(
        title, line, column, float(values.mean()), interval, digits=3, sign=sign, mark=mark
    )
