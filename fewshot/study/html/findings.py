"""Verdicts and tables of one comparison, which the page and a notebook show alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot.study.choices import choices_table
from fewshot.study.html.content import Content
from fewshot.study.html.markdown import Block, blocks
from fewshot.study.html.tables import Table, difference_table, error_table
from fewshot.study.html.verdicts import Verdict, summary, verdicts, warnings


@dataclass(frozen=True)
class Findings:
    """Content of the sections.

    Attributes:
        name: of the study.
        summary: the number of comparisons, in a sentence.
        warnings: reasons for caution.
        verdicts: one for each partner of a guided arm.
        tables: learner, its errors, and its paired differences if there are some.
        choices: settings chosen on the validation classes.
        published: name, source and errors by setting, of others.
    """

    name: str
    summary: str
    warnings: Sequence[str]
    verdicts: Sequence[Verdict]
    tables: Sequence[tuple[str, Table, Table | None]]
    choices: Sequence[Block]
    published: Sequence[tuple[str, str, Sequence[tuple[str, float]]]]


def findings(content: Content) -> Findings:
    """The findings of a comparison."""
    published = [p for p in content.result.published if p.source]
    return Findings(
        content.result.study,
        summary(content.rows),
        warnings(content),
        verdicts(content.rows),
        [
            (name, error_table(content, name), difference_table(content, name))
            for name in content.learners
        ],
        list(blocks(choices_table(content.result.choices))),
        [(p.name, p.source or "", list(p.errors.items())) for p in published],
    )
