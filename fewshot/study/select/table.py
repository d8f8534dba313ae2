"""Tables of a selection: as Markdown, and aligned for a terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from fewshot.printing import Paint
from fewshot.printing import plain as unstyled
from fewshot.study.select.judge import Judgement, ranks
from fewshot.study.select.selection import TITLES, Entry, Selection, plain
from fewshot.study.text import NONE, fixed, markdown, span

RANKED = ("udr_lasso", "udr_spearman", "centrality")


@dataclass(frozen=True)
class Table:
    """A heading, and cells as text."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown."""
        return f"{self.title}:\n\n{markdown(self.head, self.lines)}"

    def plain(self, width: int = 80, paint: Paint = unstyled) -> str:
        """In columns, no wider than the terminal: the first one gives way.

        Args:
            width: of the terminal.
            paint: gives the headings a style.
        """
        rest = [max(map(len, column)) for column in zip(*[self.head, *self.lines], strict=True)][1:]
        room = max(width - sum(w + 2 for w in rest), 8)
        first = min(room, max(len(line[0]) for line in [self.head, *self.lines]))
        text = [
            "  ".join(
                [_shortened(name, first), *(c.rjust(w) for c, w in zip(cells, rest, strict=True))]
            )
            for name, *cells in [self.head, *self.lines]
        ]
        heading = [paint(line, "bold") for line in wrap(self.title + ":", width)]
        return "\n".join([*heading, "", *text])


def _shortened(name: str, width: int) -> str:
    """A name whose end, the seed, is kept."""
    if len(name) <= width:
        return name.ljust(width)
    end = min(len(name), width // 2)
    return name[: width - end - 1] + "…" + name[-end:]


def encoders_table(selection: Selection) -> Table:
    """Each encoder's scores with their ranks, and the first test's error; lowest error first."""
    entries = [*selection.encoders, *selection.references]
    n = len(selection.encoders)
    head, columns = ["encoder"], [[entry.name for entry in entries]]
    for score in RANKED:
        head += [TITLES[score], "rank"]
        columns.append([_number(entry.value(score)) for entry in entries])
        places = [*ranks(selection.values(score)), *[None] * len(selection.references)]
        columns.append([NONE if place is None else str(place) for place in places])
    order = list(range(len(entries)))
    title = "Scores without labels"
    if selection.tests:
        head.append("error %")
        columns.append([_number(entry.value(selection.tests[0]), 2) for entry in entries])
        errors = selection.values(selection.tests[0])
        order[:n] = np.argsort(errors, kind="stable").tolist()  # NaN last
        title += f"; error: {selection.tests[0]}"
    lines = list(zip(*columns, strict=True))
    return Table(title, head, [lines[i] for i in order])


def choices_table(selection: Selection) -> Table:
    """The encoder of the highest score, and how many others have the same."""
    lines = []
    for score in (*selection.scores, *selection.measures):
        values = selection.values(score)
        equal = int((values == np.nanmax(values)).sum()) - 1
        lines.append((title(score), selection.names[int(np.nanargmax(values))], str(equal)))
    return Table("Each score's choice", ["score", "encoder", "as high"], lines)


def test_table(selection: Selection, test: str) -> Table:
    """The cost of each score's choice in one test."""
    judged = selection.judgements[test]
    best = selection.names[int(np.nanargmin(selection.values(test)))]
    lines = [
        (
            *(title(one.score), fixed(one.value), fixed(one.regret), span(one.regret_ci95, 1)),
            *_correlation(one),
        )
        for one in judged
    ]
    drawn = judged[0].random_regret
    beside = [("one at random", judged[0].best + drawn)]
    beside += [(e.name, e.errors[test]) for e in selection.references if test in e.errors]
    for name, error in beside:
        regret = fixed(error - judged[0].best)
        lines.append((name, fixed(error), regret, NONE, NONE, NONE))
    heading = f"{test}: lowest error {fixed(judged[0].best)} %, of {best}"
    return Table(heading, ["choice by", "error %", "regret", "95 %", "rank corr.", "95 %"], lines)


def correlations_table(selection: Selection) -> Table:
    """Rank correlation of each score with each test's error, and its interval."""
    heading = "Rank correlation with few-shot error"
    return _of_tests(heading, selection, lambda one: _with_span(_correlation(one)))


def regrets_table(selection: Selection) -> Table:
    """Points of error above the best encoder, for each score's choice in each test."""

    def cell(one: Judgement) -> str:
        return _with_span((fixed(one.regret, 1), span(one.regret_ci95, 1)))

    table = _of_tests("Regret of each score's choice, points of error", selection, cell)
    judged = [selection.judgements[test][0] for test in selection.tests]
    lines = [*table.lines, ("one at random", *(fixed(one.random_regret, 1) for one in judged))]
    for entry in selection.references:
        if entry.errors:
            above = [
                fixed(plain(entry.value(test) - one.best), 1)
                for test, one in zip(selection.tests, judged, strict=True)
            ]
            lines.append((entry.name, *above))
    return Table(table.title, table.head, lines)


def _of_tests(heading: str, selection: Selection, cell: Callable[[Judgement], str]) -> Table:
    """A line for each score, a column for each test."""
    lines = []
    for score in (*selection.scores, *selection.measures):
        judged = [{one.score: one for one in selection.judgements[t]} for t in selection.tests]
        cells = [cell(some[score]) if score in some else NONE for some in judged]
        lines.append((title(score), *cells))
    return Table(heading, ["score", *selection.tests], lines)


def factors_table(selection: Selection) -> Table:
    """Rank correlations of scores without labels with scores against factors."""
    lines = []
    for measure in selection.measures:
        judged = {one.score: one for one in selection.judgements[measure]}
        cells = [fixed(judged[s].correlation, 2, "+") if s in judged else NONE for s in RANKED]
        lines.append((measure, *cells))
    head = ["score against factors", *(TITLES[score] for score in RANKED)]
    return Table("Rank correlation with scores against the test images' factors", head, lines)


def factor_choices_table(selection: Selection) -> Table:
    """The cost of each score's choice in scores against factors."""
    lines = [
        (
            *(measure, title(one.score)),
            *(fixed(value, 3) for value in (one.value, one.best, one.regret)),
            *_correlation(one),
        )
        for measure in selection.measures
        for one in selection.judgements[measure]
    ]
    head = ["score against factors", "choice by", "its value", "best", "regret"]
    return Table("Choices by factors", [*head, "rank correlation", "95 %"], lines)


def factor_scores_table(selection: Selection) -> Table:
    """Every score against factors of every encoder."""
    lines = [
        (entry.name, *(_number(entry.value(measure)) for measure in selection.measures))
        for entry in (*selection.encoders, *selection.references)
        if entry.factors
    ]
    return Table("Scores against factors", ["encoder", *selection.measures], lines)


def arms_table(selection: Selection) -> Table:
    """The mean over an arm's seeds of every score and error, and the references."""
    names = [*selection.tests, *selection.scores, *selection.measures]
    grouped: dict[str, list[Entry]] = {}
    for entry in selection.encoders:
        grouped.setdefault("/".join(filter(None, (entry.run, entry.arm))), []).append(entry)
    grouped |= {entry.name: [entry] for entry in selection.references}
    lines = []
    for name, entries in grouped.items():
        values = [[one for e in entries if not np.isnan(one := e.value(n))] for n in names]
        digits = [1] * len(selection.tests) + [2] * (len(names) - len(selection.tests))
        cells = zip(values, digits, strict=True)
        lines.append((name, *(_number(float(np.mean(v or np.nan)), d) for v, d in cells)))
    return Table("Means over seeds", ["arm", *map(title, names)], lines)


def notes(selection: Selection) -> list[str]:
    """Notes on reading the tables, and on what is missing."""
    said = [
        "Regret: points of error above the best encoder. Rank correlation: Spearman's, over "
        f"those of the {len(selection.encoders)} encoders that have both score and error, -1 "
        "where the score orders them as their errors do; 95 %: bootstrap over arms and their "
        "seeds. Validation error reads labels of the validation classes, scores against factors "
        "read the factors, the other scores neither.",
    ]
    left = [f"{name} ({why})" for name, why in selection.left_out.items()]
    if left:
        said.append(f"Not chosen from: {', '.join(left)}.")
    without = [e.name for e in selection.encoders if "centrality" not in e.scores]
    if without:
        said.append(
            "Without centrality, for want of a decoder or of two latents that carry information, "
            f"or because fewer than three encoders have them: {', '.join(without)}."
        )
    return said


def title(score: str) -> str:
    """A score's name in tables."""
    return TITLES.get(score, score)


def _number(value: float, digits: int = 3) -> str:
    return fixed(plain(value), digits)


def _correlation(one: Judgement) -> tuple[str, str]:
    return fixed(one.correlation, 2, "+"), span(one.ci95, 2, "+")


def _with_span(cells: tuple[str, str]) -> str:
    value, interval = cells
    return value if interval == NONE else f"{value} ({interval})"


def tables(selection: Selection) -> list[Table]:
    """The tables that the terminal shows."""
    shown = [encoders_table(selection), choices_table(selection)]
    shown += [test_table(selection, test) for test in selection.tests]
    return [*shown, factors_table(selection)] if selection.measures else shown


MORE: dict[str, Callable[[Selection], Table]] = {
    "correlations": correlations_table,
    "regrets": regrets_table,
    "arms": arms_table,
}
"""Tables too wide for a terminal, by their name in the pages' markers."""


def more_tables(selection: Selection) -> list[Table]:
    """The tables that the file shows besides."""
    shown = [table(selection) for table in MORE.values()] if selection.tests else []
    if selection.measures:
        shown += [factor_choices_table(selection), factor_scores_table(selection)]
    return shown
