"""Markdown tables and sentences of a run's report."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from fewshot.study.published import Published
from fewshot.study.rows import LatentsRow, LearnerRow, Pair, ResultRow, Row
from fewshot.study.text import (
    NONE,
    STANDS,
    fixed,
    markdown,
    marked,
    partner_label,
    setting_names,
    sourced,
    span,
    ways_and_shots,
)

FEW_SEEDS = 5
SMALL = 1.0
"""With fewer seeds, differences below so many points come with the number of seeds they need."""


def study_table(rows: Sequence[ResultRow], published: Sequence[Published] = ()) -> str:
    """Errors of all rows, then their paired differences, then the errors that others report."""
    grouped = sorted(rows, key=lambda row: (row.n_way, row.n_shot, row.learner))
    head = ["arm", "latents", "learner", "setting", "error %", interval_of(rows)]
    lines = [
        [
            *_learner(row),
            ways_and_shots(row),
            fixed(row.error),
            span(row.error_ci95),
            span(row.error_ci95_new_classes),
        ]
        for row in grouped
    ]
    table = markdown([*head, "95 % for new classes"], lines)
    return table + pairs_table(grouped) + _published_table(rows, published)


def interval_of(rows: Sequence[Row], units: str = "episodes") -> str:
    """The heading of ``error_ci95``."""
    return "95 %" if len(rows[0].seeds) > 1 else f"95 % over {units}"


def _learner(row: LearnerRow) -> list[str]:
    return [row.arm, row.latents, row.learner]


def pairs_table(
    rows: Sequence[LearnerRow], test: Callable[[Any], str] = ways_and_shots, title: str = "setting"
) -> str:
    """Paired differences, and how many are significant; empty if there are none.

    Args:
        rows: to show.
        test: what a row was tested on, in words.
        title: of that column.
    """
    lines = [
        [
            *_learner(row),
            test(row),
            partner_label(row, pair),
            marked(pair, 2),
            span(pair.ci95, sign="+"),
            span(pair.ci95_new_classes, sign="+"),
            fixed(pair.relative_reduction, 1),
            pair.question or "",
        ]
        for row in rows
        for pair in row.pairs
    ]
    if not lines:
        return ""
    head = ["arm", "latents", "learner", title, "minus", "difference", interval_of(rows)]
    head += ["95 % for new classes", "reduction %", "answers"]
    return f"\n{markdown(head, lines)}\n{counted(rows)}\n"


def counted(rows: Sequence[Row]) -> str:
    """The number of comparisons, and of those that exclude 0, alone and all together."""
    pairs = [pair for row in rows for pair in row.pairs]
    if not pairs:
        return "No comparison."
    if len(rows[0].seeds) == 1:
        return f"{len(pairs)} comparisons of one seed each, which can't show a difference."
    tested = [pair for pair in pairs if pair.p is not None]
    if not tested:
        return f"{len(pairs)} comparisons without intervals."
    return (
        f"{len(tested)} comparisons: {sum(pair.apart for pair in tested)} intervals exclude 0; "
        f"{sum(pair.stands for pair in tested)} still do after Holm's correction ({STANDS})."
    )


def _published_table(rows: Sequence[LearnerRow], published: Sequence[Published]) -> str:
    shown = sourced(published)
    if not shown:
        return ""
    settings = setting_names(rows)
    lines = [
        [p.name, *(fixed(p.errors.get(key), 1) for key in settings), p.source or ""] for p in shown
    ]
    return "\n" + markdown(["published, error %", *settings.values(), "source"], lines)


def verdicts(rows: Sequence[ResultRow]) -> list[str]:
    """One sentence for each partner of each guided arm.

    They are about the study's first learner and setting, and each arm's first latents. Learners
    that are paired with another have a sentence on that setting, unless both have the same errors
    because nothing was trained.
    """
    lines = []
    first: dict[str, str] = {}
    for row in rows:
        of_arm = row.latents == first.setdefault(row.arm, row.latents)
        if row.setting != rows[0].setting:
            continue
        for pair in row.pairs:
            if pair.by == "learner" and pair.ci95 != (0.0, 0.0):
                lines.append(_verdict(f"{row.learner} on {row.arm} ({row.latents})", row, pair))
            elif pair.by == "arm" and row.guidance and of_arm and row.learner == rows[0].learner:
                lines.append(_verdict(f"{row.arm} ({row.latents})", row, pair))
    return lines


def _verdict(subject: str, row: ResultRow, pair: Pair) -> str:
    question = f"{pair.question[0].upper()}{pair.question[1:]}: " if pair.question else ""
    n = len(row.seeds)
    low, high = pair.ci95 or (0.0, 0.0)
    verb = "lowers" if high < 0 else "raises" if low > 0 else "does not clearly change"
    against = f"{verb} the error of" if n > 1 and pair.ci95 else "against"
    interval = f", 95 % {span(pair.ci95, sign='+')}" if pair.ci95 else ""
    return (
        f"{question}{subject} {against} {partner_label(row, pair)}: "
        f"{fixed(pair.difference, sign='+')} points{interval}{f' {STANDS}' if pair.stands else ''} "
        f"({ways_and_shots(row)}, {row.learner}, {n} seed{'s' * (n > 1)} × {row.episodes} episodes)"
        + _caution(n, pair)
    )


def _caution(n_seeds: int, pair: Pair) -> str:
    """The sentence that few seeds need."""
    if pair.ci95 is None:
        return ". The counts that an interval needs were not kept."
    if n_seeds == 1:
        return ". The interval is over episodes: one pretraining cannot tell what another would do."
    two = "" if n_seeds > 2 else ". Two seeds: t is 12.7, valid and nearly useless"
    if n_seeds >= FEW_SEEDS or abs(pair.difference or 0.0) >= SMALL:
        return two
    if pair.seeds_for_half is None:
        return f"{two}. More seeds would not halve the interval; more episodes would narrow it."
    return f"{two}. Half the interval would take about {pair.seeds_for_half} seeds."


def latents_table(rows: Sequence[LatentsRow], published: Sequence[Published] = ()) -> str:
    """Rows of a study of latents, grouped by the number of latents, and what others report.

    Then their paired differences.
    """
    interval = interval_of(rows, "images")
    by_width = sorted(rows, key=lambda row: row.latent_dim)
    lines: list[list[str]] = []
    for latent_dim, of_width in groupby(by_width, key=lambda row: row.latent_dim):
        lines += [
            [
                row.arm,
                *_width(row),
                fixed(row.error),
                span(row.error_ci95),
                fixed(row.fid),
                span(row.fid_ci95_seeds),
            ]
            for row in sorted(of_width, key=lambda row: row.steps or 0)
        ]
        lines += [
            [
                f"{p.name}, {p.source}",
                str(latent_dim),
                *([NONE] * (len(_width(rows[0])) - 1)),
                fixed(p.errors.get(str(latent_dim))),
                *([NONE] * 3),
            ]
            for p in sourced(published)
        ]
    differences = [
        [
            row.arm,
            *_width(row),
            pair.partner,
            marked(pair, 2),
            span(pair.ci95, sign="+"),
            fixed(pair.relative_reduction, 1),
        ]
        for row in sorted(rows, key=lambda row: (row.latent_dim, row.steps or 0))
        for pair in row.pairs
    ]
    first = ["arm", "latents", "steps"][: 1 + len(_width(rows[0]))]
    table = markdown([*first, "error %", interval, "FID", "95 % over seeds"], lines)
    if not differences:
        return table
    head = [*first, "minus", "difference", interval, "reduction %"]
    return f"{table}\n{markdown(head, differences)}"


def _width(row: LatentsRow) -> list[str]:
    """Number of latents, and of steps if the study has several lengths of training."""
    return [str(row.latent_dim), *([] if row.steps is None else [f"{row.steps:,}"])]
