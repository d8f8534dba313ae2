"""Markdown tables of Lake's task: his own runs and drawn ones side by side."""

from collections.abc import Sequence

from fewshot.study.lake.runs import SOURCES, TITLES
from fewshot.study.published import Published
from fewshot.study.rows import LakeRow
from fewshot.study.tables import pairs_table
from fewshot.study.text import NONE, arm_label, fixed, markdown, paired, sourced, span

FEW_TRIALS = (
    "Published errors are on Lake's own runs. They are 400 trials, which cannot tell 3.3 % from "
    "4.5 %: Wilson's interval of 4.5 % is 2.9 … 7.0."
)


def lake_table(rows: Sequence[LakeRow], published: Sequence[Published]) -> str:
    """The report: rows of Lake's task, the errors that others report, and paired differences.

    Args:
        rows: to show.
        published: errors on Lake's own runs.
    """
    sizes = {row.source: f"{row.runs} runs, {row.trials} trials" for row in rows}
    tasks = "".join(f"- {s}: {TITLES[s]}, {sizes[s]}\n" for s in SOURCES if s in sizes)
    several = len(rows[0].seeds) > 1
    over = "seeds and " if several else ""
    wilson = "" if several else " (Wilson's, for errors)"
    return (
        f"20-way one-shot within one alphabet; error in %.\n\n{tasks}\n"
        f"{side_by_side(rows, published, digits=2)}\n{FEW_TRIALS}\n\n"
        f"95 %: over {over}trials, for these runs{wilson}; also of differences. The trials of a "
        "run share their characters, so that these are too narrow for other runs. 95 %, other "
        f"runs: over {over}runs, for other alphabets and drawers.\n"
        + pairs_table(rows, lambda row: row.source, "runs")
    )


def side_by_side(
    rows: Sequence[LakeRow], published: Sequence[Published] = (), arm: str = "", digits: int = 1
) -> str:
    """A line for each arm and learner, then for what others report; columns for both kinds of runs.

    What needs many runs is shown of drawn ones, and of Lake's own if there are no others: the
    interval for other runs, each seed's error, and the first paired difference.

    Args:
        rows: to show.
        published: errors on Lake's own runs.
        arm: the only one to show; empty: all.
        digits: of the errors.
    """
    lines: dict[str, dict[str, LakeRow]] = {}
    for row in rows:
        if arm in ("", row.arm):
            lines.setdefault(f"{arm_label(row)}, {row.learner}", {})[row.source] = row
    body = [[label, *_cells(found, digits)] for label, found in lines.items()]
    body += [
        [f"{p.name} ({p.source})", fixed(error, 1), *[""] * 6]
        for p in ([] if arm else sourced(published))
        for error in p.errors.values()
    ]
    head = ["", "Lake's own runs", "95 %", "drawn runs", "95 %", "95 %, other runs", "each seed"]
    return markdown([*head, "paired difference"], body)


def _cells(found: dict[str, LakeRow], digits: int) -> list[str]:
    cells = []
    for source in SOURCES:
        row = found.get(source)
        cells += [fixed(row.error, digits), span(row.error_ci95, digits)] if row else [NONE, NONE]
    more = found[next(source for source in reversed(SOURCES) if source in found)]
    each = ", ".join(fixed(error, digits) for error in more.error_by_seed)
    return [*cells, span(more.error_ci95_runs, digits), each, paired(more.pair, digits)]
