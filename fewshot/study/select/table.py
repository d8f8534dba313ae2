"""Tables of a selection: as Markdown, and aligned for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np

from fewshot.study.select.judge import Floats, Judgement, ranks
from fewshot.study.select.selection import TITLES, Selection
from fewshot.study.text import NONE, fixed, markdown, span

WIDTH = 80
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

    def plain(self) -> str:
        """In columns, at most 80 characters wide: the first one gives way."""
        rest = [max(map(len, column)) for column in zip(*[self.head, *self.lines], strict=True)][1:]
        room = WIDTH - sum(width + 2 for width in rest)
        first = min(room, max(len(line[0]) for line in [self.head, *self.lines]))
        text = [
            "  ".join(
                [_shortened(name, first), *(c.rjust(w) for c, w in zip(cells, rest, strict=True))]
            )
            for name, *cells in [self.head, *self.lines]
        ]
        return "\n".join([fill(self.title + ":", WIDTH), "", *text])


def _shortened(name: str, width: int) -> str:
    """A name whose end, the seed, is kept."""
    if len(name) <= width:
        return name.ljust(width)
    end = min(len(name), width // 2)
    return name[: width - end - 1] + "…" + name[-end:]


def encoders_table(selection: Selection) -> Table:
    """Each encoder's scores with their ranks, and the first test's error; lowest error first."""
    head, columns = ["encoder"], [[c.name for c in selection.candidates]]
    for score in RANKED:
        values = selection.scores.values[score]
        head += [TITLES[score], "rank"]
        columns.append([_number(value) for value in values])
        columns.append([NONE if place is None else str(place) for place in ranks(values)])
    order = list(range(len(selection.candidates)))
    title = "Scores without labels"
    if selection.tests:
        errors = selection.errors(selection.tests[0])
        head.append("error %")
        columns.append([_number(error, 2) for error in errors])
        order = np.argsort(errors, kind="stable").tolist()  # NaN last
        title += f"; error: {selection.tests[0]}"
    lines = list(zip(*columns, strict=True))
    return Table(title, head, [lines[i] for i in order])


def choices_table(selection: Selection) -> Table:
    """The encoder of the highest score, and how many others have the same."""
    lines = [
        (TITLES[score], selection.candidates[int(np.nanargmax(values))].name, _equal(values))
        for score, values in selection.scores.values.items()
        if not np.isnan(values).all()
    ]
    return Table("Each score's choice", ["score", "encoder", "as high"], lines)


def test_table(selection: Selection, test: str) -> Table:
    """The cost of each score's choice in one test."""
    judged = selection.judgements[test]
    best = selection.candidates[int(np.nanargmin(selection.errors(test)))].name
    lines = [
        (TITLES[one.score], fixed(one.value), fixed(one.regret), *_correlation(one))
        for one in judged
    ]
    drawn = judged[0].random_regret
    lines.append(("one at random", fixed(judged[0].best + drawn), fixed(drawn), NONE, NONE))
    title = f"{test}: lowest error {fixed(judged[0].best)} %, of {best}"
    head = ["choice by", "error %", "regret", "rank correlation", "95 %"]
    return Table(title, head, lines)


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
            *(measure, TITLES[one.score]),
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
        (name, *(fixed(values.get(measure), 3) for measure in selection.measures))
        for name, values in selection.truth.items()
    ]
    return Table("Scores against factors", ["encoder", *selection.measures], lines)


def notes(selection: Selection) -> list[str]:
    """Notes on reading the tables, and on what is missing."""
    said = [
        "Regret: points of error above the best encoder. Rank correlation: Spearman's, over "
        f"{len(selection.candidates)} encoders, of score and error, -1 where the score orders "
        "them as their errors do; 95 %: bootstrap over encoders. Validation error reads labels "
        "of the validation classes, the other scores none.",
    ]
    left = [f"{name} ({why})" for name, why in selection.found.left_out.items()]
    if left:
        said.append(f"Left out: {', '.join(left)}.")
    missing = np.isnan(selection.scores.values["centrality"])
    without = [c.name for c, gone in zip(selection.candidates, missing, strict=True) if gone]
    if without:
        said.append(
            "Without centrality, for want of a decoder or of two latents that carry information, "
            f"or because fewer than three encoders have them: {', '.join(without)}."
        )
    return said


def _equal(values: Floats) -> str:
    return str(int((values == np.nanmax(values)).sum()) - 1)


def _number(value: float, digits: int = 3) -> str:
    return fixed(None if np.isnan(value) else value, digits)


def _correlation(one: Judgement) -> tuple[str, str]:
    return fixed(one.correlation, 2, "+"), span(one.ci95, 2, "+")


def tables(selection: Selection) -> list[Table]:
    """The tables that the terminal shows."""
    shown = [encoders_table(selection), choices_table(selection)]
    shown += [test_table(selection, test) for test in selection.tests]
    return [*shown, factors_table(selection)] if selection.truth else shown


def more_tables(selection: Selection) -> list[Table]:
    """The tables that the file shows besides."""
    if not selection.truth:
        return []
    return [factor_choices_table(selection), factor_scores_table(selection)]
