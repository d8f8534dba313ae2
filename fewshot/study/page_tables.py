"""Markdown tables of the documentation's pages, from published rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fewshot.study.costs import Cost, mean_costs
from fewshot.study.measurement import Measurement
from fewshot.study.published import Published
from fewshot.study.rows import LakeRow, LatentsRow, ResultRow, Row
from fewshot.study.text import (
    NONE,
    arm_label,
    fixed,
    latents_and_steps,
    markdown,
    minus,
    paired,
    partner_label,
    plus_minus,
    setting_names,
    sourced,
    span,
    ways_and_shots,
)

R = TypeVar("R", bound=Row)

WHOSE = {"own": "Lake's own runs", "drawn": "drawn runs"}


def _grid(
    first: Sequence[str],
    lines: dict[tuple[str, ...], dict[Any, Any]],
    columns: dict[Any, str],
    digits: int = 1,
) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a table of errors.

    Args:
        first: headings of the labels.
        lines: labels of a line -> condition -> row.
        columns: condition -> heading; paired differences follow in a column of their own.
        digits: of the errors.
    """
    rows = [row for line in lines.values() for row in line.values()]
    with_pairs = any(row.pairs for row in rows)
    head, body = list(first), [list(labels) for labels in lines]
    for condition, title in columns.items():
        head += [title, minus(rows)] if with_pairs else [title]
        for cells, line in zip(body, lines.values(), strict=True):
            row = line.get(condition)  # none for an arm that the learner leaves out
            cells.append(plus_minus(row.error, row.error_ci95, digits) if row else NONE)
            cells += [paired(row.pair, digits) if row else ""] if with_pairs else []
    return head, body


def results_table(rows: Sequence[ResultRow], learner: str) -> str:
    """One learner: a line for each arm, error and paired difference for each setting."""
    rows = [row for row in rows if row.learner == learner]
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault((arm_label(row),), {})[ways_and_shots(row)] = row
    columns = {name: name for name in setting_names(rows).values()}
    return markdown(*_grid(["arm (latents)"], lines, columns))


def controls_table(rows: Sequence[ResultRow], learner: str) -> str:
    """One learner: a line for each arm and each of its partners but the first."""
    rows = [row for row in rows if row.learner == learner]
    return _controls(rows, ["arm (latents)"], lambda row: (arm_label(row),), ways_and_shots)


def learner_controls_table(rows: Sequence[ResultRow], arm: str) -> str:
    """One arm: a line for each learner and each of its partners but the first."""
    rows = [row for row in rows if row.arm == arm]
    return _controls(rows, ["learner"], lambda row: (row.learner,), ways_and_shots)


def budget_controls_table(rows: Sequence[ResultRow], group: str) -> str:
    """One group of learners: a line for each arm and each of its partners but the first."""
    rows = [row for row in rows if row.learner_group == group]
    rows = sorted(rows, key=lambda row: row.train_episodes)
    return _controls(rows, ["labels", "arm"], _share_and_arm, _budget)


def width_controls_table(rows: Sequence[LatentsRow]) -> str:
    """A line for each arm and each of its partners but the first, a column for each width."""
    return _controls(rows, ["arm"], lambda row: (row.arm,), latents_and_steps, 2)


def lake_controls_table(rows: Sequence[LakeRow]) -> str:
    """A line for each arm and each of its partners but the first, a column for whose runs."""
    return _controls(
        rows,
        ["arm (latents)", "learner"],
        lambda row: (arm_label(row), row.learner),
        lambda row: WHOSE[row.source],
    )


def _controls(
    rows: Sequence[R],
    first: Sequence[str],
    labels: Callable[[R], tuple[str, ...]],
    condition: Callable[[R], str],
    digits: int = 1,
) -> str:
    """Differences to each partner but the first.

    Args:
        rows: in the order of their lines and conditions.
        first: headings of the labels.
        labels: of a row's line.
        condition: heading of a row's column.
        digits: of the differences.
    """
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    groups = {row.arm: row.arm_group for row in rows}
    for row in rows:
        for pair in row.pairs[1:]:
            of_group = replace(pair, partner=groups.get(pair.partner, pair.partner))
            line = (*labels(row), partner_label(row, of_group), pair.question or "")
            lines.setdefault(line, {})[condition(row)] = paired(pair, digits)
    columns = list(dict.fromkeys(map(condition, rows)))
    body = [[*line, *(found.get(name, "") for name in columns)] for line, found in lines.items()]
    return markdown([*first, "minus", "answers", *columns], body)


def new_classes_table(rows: Sequence[ResultRow], learner: str) -> str:
    """One learner: error, and the halves of its intervals for these and for new test classes."""
    lines: dict[str, dict[str, str]] = {}
    rows = [row for row in rows if row.learner == learner]
    for row in rows:
        these, new = plus_minus(row.error, row.error_ci95), row.error_ci95_new_classes
        both = f"{these} / {fixed((new[1] - new[0]) / 2, 1)}" if new else these
        lines.setdefault(arm_label(row), {})[ways_and_shots(row)] = both
    settings = setting_names(rows).values()
    body = [[label, *(found.get(s, "") for s in settings)] for label, found in lines.items()]
    return markdown(["arm (latents)", *settings], body)


def headline_table(rows: Sequence[ResultRow], learner: str) -> str:
    """One learner in the first setting: a line for each trained arm, a column for a partner."""
    shown = [
        row
        for row in rows
        if (row.learner, row.setting) == (learner, rows[0].setting)
        and row.encoder in ("pretrained", "trained")
        and row.latents == "all"
    ]
    body = []
    for row in shown:
        first, *others = (f"{paired(pair)}" for pair in row.pairs[:2]) if row.pairs else ("",)
        control = f"{row.pairs[1].partner}: {others[0]}" if others else ""
        body.append([row.arm, fixed(row.error, 1), span(row.error_ci95, 1), first, control])
    head = ["encoder", "error in %", "its 95 % interval", minus(shown), "minus its control"]
    return markdown(head, body)


def learners_table(rows: Sequence[ResultRow], arm: str, published: Sequence[Published]) -> str:
    """One arm: a line for each learner, then a line for each method that others report."""
    rows = [row for row in rows if row.arm == arm]
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault((row.learner,), {})[ways_and_shots(row)] = row
    settings = setting_names(rows)
    head, body = _grid(["learner"], lines, {name: name for name in settings.values()})
    gap = [""] * ((len(head) - 1) // len(settings) - 1)
    for p in sourced(published):
        cells = [cell for key in settings for cell in (fixed(p.errors.get(key), 1), *gap)]
        body.append([f"{p.name} ({p.source})", *cells])
    return markdown(head, body)


def budget_table(rows: Sequence[ResultRow], group: str) -> str:
    """One group of learners: a line for each arm, a column for each amount of meta-training."""
    rows = [row for row in rows if row.learner_group == group]
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault(_share_and_arm(row), {})[_budget(row)] = row
    columns = {_budget(row): _budget(row) for row in sorted(rows, key=lambda r: r.train_episodes)}
    return markdown(*_grid(["labels", "arm"], lines, columns))


def _share_and_arm(row: ResultRow) -> tuple[str, str]:
    return f"{100 * row.labelled:g} %", arm_label(row, row.arm_group)


def _budget(row: ResultRow) -> str:
    return f"{row.train_episodes:,} episodes"


def widths_table(rows: Sequence[LatentsRow], published: Sequence[Published]) -> str:
    """One line an arm: error and paired difference, then FID, for each number of latents."""
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault((row.arm,), {})[row.latent_dim] = row
    dims = list(dict.fromkeys(row.latent_dim for row in rows))
    head, body = _grid(["arm"], lines, {dim: f"error, {dim} latents" for dim in dims}, 2)
    for cells in body:
        of_arm = [row for row in rows if row.arm == cells[0]]
        cells += [plus_minus(row.fid, row.fid_ci95_seeds) for row in of_arm]
    gap = [""] * ((len(head) - 1) // len(dims) - 1)
    for p in sourced(published):
        errors = [cell for dim in dims for cell in (fixed(p.errors.get(str(dim))), *gap)]
        body.append([f"{p.name} ({p.source})", *errors, *[NONE] * len(dims)])
    return markdown([*head, *(f"FID, {dim}" for dim in dims)], body)


def curve_table(rows: Sequence[LatentsRow], latent_dim: int) -> str:
    """One line an arm: error and paired difference for each length of training."""
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        if row.latent_dim == latent_dim:
            lines.setdefault((row.arm,), {})[row.steps] = row
    lengths = [row.steps for row in next(iter(lines.values())).values()]
    columns = {length: f"{length:,} steps" for length in lengths}
    return markdown(*_grid(["arm"], lines, columns, 2))


def measurements_table(measurements: Sequence[Measurement]) -> str:
    """Mean over seeds of each measurement of each arm."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for entry in measurements:
        grouped.setdefault((entry.measure, entry.arm), []).append(entry)
    lines = []
    for (measure, arm), entries in grouped.items():
        digits = 1 if entries[0].unit == "%" else 2
        sums = sum(e.target for e in entries), sum(e.other for e in entries)
        lines.append([measure, arm, *(fixed(total / len(entries), digits) for total in sums)])
    return markdown(["measurement", "arm", "target latents", "other latents"], lines)


def peer_table(ours: Row, seconds: float, peer: dict[str, Any], difference: dict[str, Any]) -> str:
    """A study's row beside another program's result on the same episodes."""
    return markdown(
        ["", "error in %", "95 % interval", "seconds"],
        [
            ["ours", fixed(ours.error), span(ours.error_ci95), fixed(seconds, 0)],
            [
                peer["name"],
                fixed(peer["error"]),
                span(peer["error_ci95"]),
                fixed(peer["seconds"], 0),
            ],
            [
                "paired difference",
                fixed(difference["difference"], sign="+"),
                span(difference["ci95"], sign="+"),
                "",
            ],
        ],
    )


TIMED = "_timed"
"""Ends the name of an arm that is trained for as long as the baseline, not for as many steps."""


def systems_table(rows: Sequence[ResultRow], costs: Sequence[Cost], arms: Sequence[str]) -> str:
    """Errors at equal steps and at equal time, a line for each arm, the lowest error first.

    Of the first learner, on each arm's first latents. An arm's errors at equal time are those of
    the arm of its name and ``_timed``; an arm without one costs as much as the baseline, or is not
    trained by steps.

    Args:
        rows: of a study.
        costs: of its trainings.
        arms: to show.
    """
    settings = setting_names(rows)
    cells: dict[tuple[str, str], ResultRow] = {}
    for row in rows:
        if row.learner == rows[0].learner:
            cells.setdefault((row.arm, row.label), row)
    first = next(iter(settings))
    spent = mean_costs(costs)
    lines = []
    for arm in sorted(arms, key=lambda arm: cells[arm, first].error):
        own = [cells[arm, setting] for setting in settings]
        timed = [cells.get((arm + TIMED, setting)) for setting in settings]
        _, seconds = spent.get(arm, (0, None))
        lines.append(
            [
                arm_label(own[0]),
                fixed(seconds, 0),
                *_errors(own),
                f"{spent[arm + TIMED][0]:,}" if timed[0] else "",
                *_errors(timed),
            ]
        )
    difference = minus([row for (arm, _), row in cells.items() if arm in arms])
    names = [name for setting in settings.values() for name in (setting, difference)]
    head = ["arm", "seconds", *names, "steps in equal time", *names]
    return markdown(head, lines)


def _errors(rows: Sequence[ResultRow | None]) -> list[str]:
    texts = []
    for row in rows:
        texts += (
            ["", ""] if row is None else [plus_minus(row.error, row.error_ci95), paired(row.pair)]
        )
    return texts
