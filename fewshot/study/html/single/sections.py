"""Everything that a short page shows, as plain values; what is empty is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewshot.study.colours import Style
from fewshot.study.html.episodes import Examples
from fewshot.study.html.pictures import Gallery
from fewshot.study.html.plots import Curves, Forest
from fewshot.study.html.tables import Measure, Table
from guided.html.fragment import Table as Facts


@dataclass(frozen=True, kw_only=True)
class Sections:
    """The sections of one page but for how to reproduce.

    Attributes:
        lead: a sentence on the subject.
        subject: heading and table of what was made, a column for each run.
        styles: of each encoder or learner.
        warnings: reasons for caution.
        tables, forests: errors.
        curves: validations.
        measures: measurements.
        galleries: pictures.
        lost: encoders whose pictures were not kept.
        examples: name of a run, and its episodes.
    """

    lead: str
    subject: tuple[str, Facts]
    styles: Mapping[str, Style]
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    forests: Sequence[Forest] = ()
    curves: Sequence[Curves] = ()
    measures: Sequence[Measure] = ()
    galleries: Sequence[Gallery] = ()
    lost: Sequence[str] = ()
    examples: Sequence[tuple[str, Examples]] = ()
