"""Tables of a learner: arm × setting, as plain values for the template."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot.study.html.content import Content
from fewshot.study.measurement import Measurement
from fewshot.study.rows import Pair, ResultRow
from fewshot.study.text import arm_label, fixed, minus, partner_label, setting_names, span


@dataclass(frozen=True)
class Cell:
    """A number and what belongs to it.

    Attributes:
        number: as text.
        these, new: its intervals for these and for new test classes; empty: none.
        strong: True if the paired difference is significant after the correction.
        more: a further remark.
    """

    number: str
    these: str = ""
    new: str = ""
    strong: bool = False
    more: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        arm: the arm's name, for its mark.
        label: the row of the study.
        minus: the partner's label; empty: the line is no difference.
        answers: what the difference answers; empty: what the names say.
        cells: one a setting; None where there is no such row.
        role: ``baseline`` of an arm that others are first paired with, ``control`` of one that they
            are paired with besides; empty: none.
    """

    arm: str
    label: str
    cells: tuple[Cell | None, ...]
    minus: str = ""
    answers: str = ""
    role: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        settings: headings of the cells.
        lines: its body.
        of: heading of the lines.
    """

    caption: str
    settings: tuple[str, ...]
    lines: tuple[Line, ...]
    of: str = "arm"


def error_table(content: Content, learner: str) -> Table:
    """Errors; bold where the difference to the first partner is significant."""
    rows = content.rows_of(learner)
    settings = setting_names(rows)
    roles = _roles(content.rows)
    found: dict[str, dict[str, ResultRow]] = {}
    for row in rows:
        found.setdefault(arm_label(row), {})[row.label] = row
    lines = []
    for label, by_setting in found.items():
        first = next(iter(by_setting.values()))
        cells = tuple(_error(by_setting.get(key)) for key in settings)
        lines.append(Line(first.arm, label, cells, role=roles.get(first.arm, "")))
    caption = f"Error in % of {learner}; bold: its difference {minus(rows)} is significant"
    return Table(caption, tuple(settings.values()), tuple(lines))


def _roles(rows: Sequence[ResultRow]) -> dict[str, str]:
    """Arm -> what it is to others, for arms that others are paired with."""
    roles: dict[str, str] = {}
    for row in rows:
        for i, pair in enumerate(row.pairs):
            if pair.by == "arm" and roles.get(pair.partner) != "baseline":
                roles[pair.partner] = "control" if i else "baseline"
    return roles


def _error(row: ResultRow | None) -> Cell | None:
    if row is None:
        return None
    return Cell(
        fixed(row.error),
        span(row.error_ci95) if row.error_ci95 else "",
        span(row.error_ci95_new_classes) if row.error_ci95_new_classes else "",
        bool(row.pair and row.pair.stands),
    )


def difference_table(content: Content, learner: str) -> Table | None:
    """Paired differences to every partner; bold where significant. None if there are none."""
    rows = content.rows_of(learner)
    settings = setting_names(rows)
    found: dict[tuple[str, str, str], dict[str, Pair]] = {}
    arms: dict[tuple[str, str, str], str] = {}
    for row in rows:
        for pair in row.pairs:
            labels = arm_label(row), partner_label(row, pair), pair.question or ""
            found.setdefault(labels, {})[row.label] = pair
            arms[labels] = row.arm
    if not found:
        return None
    lines = tuple(
        Line(
            arms[labels],
            labels[0],
            tuple(_difference(pairs.get(key)) for key in settings),
            *labels[1:],
        )
        for labels, pairs in found.items()
    )
    caption = f"Paired differences in points of {learner}, on the same seeds and episodes"
    return Table(caption, tuple(settings.values()), lines)


def _difference(pair: Pair | None) -> Cell | None:
    if pair is None or pair.difference is None:
        return None
    reduction = pair.relative_reduction
    return Cell(
        fixed(pair.difference, sign="+"),
        span(pair.ci95, sign="+") if pair.ci95 else "",
        span(pair.ci95_new_classes, sign="+") if pair.ci95_new_classes else "",
        pair.stands,
        "" if reduction is None else f"{fixed(-reduction, 1, '+')} %",
    )


EXPLAINED = (
    (
        "correlation of a latent with an applied ",
        "Images are deformed by known amounts: the correlation, over copies of the same image, of "
        "a latent with the amount applied; 1 where the latent follows it alone.",
    ),
    (
        "rank correlation of a latent with the factor ",
        "Spearman's rank correlation of a latent with a factor that the images were made from; 1 "
        "where their orders agree.",
    ),
    (
        "linear probe of ",
        "Error of a linear classifier that reads the attribute from these latents, on images that "
        "it was not fitted to; low in the target latents and high in all others is what guidance "
        "is meant to reach.",
    ),
    (
        "finding a deformed image among ",
        "Share of deformed images whose nearest code is not that of the same image, deformed "
        "otherwise; low in the content latents where these ignore the deformation.",
    ),
    (
        "do(",
        "One factor is set on the codes of images: the error of a factor as it is read from the "
        "codes after, beside that without the intervention; low in the first column where the "
        "model's effects follow.",
    ),
)


def explanation(measure: str) -> str:
    """A sentence on a measure."""
    for start, sentence in EXPLAINED:
        if measure.startswith(start):
            return sentence
    return "A measure of a guidance's own; its documentation says more."


@dataclass(frozen=True)
class Measure:
    """One measure of all arms.

    Attributes:
        name: of the measure.
        explanation: a sentence.
        lines: arm, number in the target latents, and in all others: means over seeds.
    """

    name: str
    explanation: str
    lines: tuple[tuple[str, str, str], ...]


def measures(entries: Sequence[Measurement]) -> list[Measure]:
    """Diagnostics, grouped by measure."""
    grouped: dict[str, dict[str, list[Measurement]]] = {}
    for entry in entries:
        grouped.setdefault(entry.measure, {}).setdefault(entry.arm, []).append(entry)
    found = []
    for measure, arms in grouped.items():
        lines = []
        for arm, seeds in arms.items():
            digits = 1 if seeds[0].unit == "%" else 2
            means = (sum(values) / len(seeds) for values in _both(seeds))
            target, other = (fixed(mean, digits) for mean in means)
            lines.append((arm, target, other))
        found.append(Measure(measure, explanation(measure), tuple(lines)))
    return found


def _both(entries: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    return [e.target for e in entries], [e.other for e in entries]
