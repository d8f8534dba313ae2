"""Markdown tables of result rows: of a run's report, and of the documentation's pages."""

from collections.abc import Iterable, Sequence
from typing import Any

from fewshot.study.rows import (
    LakeRow,
    LatentsRow,
    LearnerRow,
    Measurement,
    Published,
    ResultRow,
    Row,
)
from fewshot.study.text import (
    NONE,
    arm_label,
    fixed,
    markdown,
    minus,
    paired,
    plus_minus,
    sourced,
    span,
    ways_and_shots,
)

# Reports of a run.


def study_table(rows: Sequence[ResultRow], published: Sequence[Published] = ()) -> str:
    """All rows, grouped by setting and learner, then the errors that others report."""
    head = ["arm", "latents", "learner", "setting", "error %", "95 % over seeds"]
    head += ["95 % over episodes", minus(rows), "95 % paired", "reduction %"]
    grouped = sorted(rows, key=lambda row: (row.n_way, row.n_shot, row.learner))
    lines = [
        [
            row.arm,
            row.latents,
            row.learner,
            ways_and_shots(row),
            fixed(row.error),
            span(row.error_ci95_seeds),
            span(row.error_ci95_episodes),
            fixed(row.paired_difference, sign="+"),
            span(row.paired_difference_ci95),
            fixed(row.relative_reduction, 1),
        ]
        for row in grouped
    ]
    return markdown(head, lines) + _published_table(rows, published)


def _published_table(rows: Sequence[LearnerRow], published: Sequence[Published]) -> str:
    shown = sourced(published)
    if not shown:
        return ""
    settings = _settings(rows)
    lines = [
        [p.name, *(fixed(p.errors.get(key), 1) for key in settings), p.source or ""] for p in shown
    ]
    return "\n" + markdown(["published, error %", *settings.values(), "source"], lines)


def _settings(rows: Iterable[LearnerRow]) -> dict[str, str]:
    """A setting's key in published figures -> the setting in words."""
    return {f"{row.n_way}w{row.n_shot}s": ways_and_shots(row) for row in rows}


def verdicts(rows: Sequence[ResultRow]) -> list[str]:
    """One sentence for each guided arm, on the study's first learner and setting.

    And one for each learner that is paired with another, on that setting, unless both have the
    same errors because nothing was trained.
    """
    lines = []
    for row in rows:
        if row.paired_difference is None or row.setting != rows[0].setting:
            continue
        of_learners = row.paired_by == "learner"
        if not of_learners and not (row.guidance and row.learner == rows[0].learner):
            continue
        low, high = row.paired_difference_ci95 or (0.0, 0.0)
        if of_learners and low == high == 0:
            continue
        verb = "lowers" if high < 0 else "raises" if low > 0 else "does not clearly change"
        subject = f"{row.learner} on {row.arm}" if of_learners else row.arm
        lines.append(
            f"{subject} ({row.latents}) {verb} the error of {row.paired_with}: "
            f"{fixed(row.paired_difference, sign='+')} points, 95 % {span((low, high))} "
            f"({ways_and_shots(row)}, {row.learner}, "
            f"{len(row.seeds)} seeds × {row.episodes} episodes)"
        )
    return lines


def lake_table(
    rows: Sequence[LakeRow], published: Sequence[Published], task: str, trials: int
) -> str:
    """Rows of Lake's task and the errors that others report.

    Args:
        rows: to show.
        published: errors on Lake's own runs.
        task: whose runs they are.
        trials: of one seed.
    """
    head = ["arm", "latents", "learner", "error %", "95 % binomial", "95 % over runs"]
    head += ["95 % over seeds", "each seed", minus(rows), "95 % paired"]
    lines = [
        [
            row.arm,
            row.latents,
            row.learner,
            fixed(row.error),
            span(row.error_ci95_binomial),
            span(row.error_ci95_runs),
            span(row.error_ci95_seeds),
            " ".join(map(fixed, row.error_by_seed)),
            fixed(row.paired_difference, sign="+"),
            span(row.paired_difference_ci95),
        ]
        for row in rows
    ]
    reported = [
        [p.name, fixed(error, 1), p.source or ""]
        for p in sourced(published)
        for error in p.errors.values()
    ]
    return (
        f"{task}: {rows[0].runs} runs, {trials} trials, 20-way one-shot within one alphabet.\n\n"
        + markdown(head, lines)
        + f"\nBinomial: Wilson's interval of the mean error for the {trials} trials of one seed, "
        "since all seeds answer the same trials; it holds for these runs. Over runs: Student's t, "
        "for runs of other alphabets and drawers.\n\n"
        + markdown(["published, on Lake's own 20 runs", "error %", "source"], reported)
    )


def latents_table(rows: Sequence[LatentsRow], published: Sequence[Published] = ()) -> str:
    """Rows of a study of latents, grouped by the number of latents, and what others report."""
    head = ["arm", "latents", "error %", "95 % over seeds", minus(rows), "95 % paired"]
    head += ["reduction %", "FID", "95 % over seeds"]
    lines: list[list[str]] = []
    for latent_dim in dict.fromkeys(row.latent_dim for row in rows):
        lines += [
            [
                row.arm,
                str(latent_dim),
                fixed(row.error),
                span(row.error_ci95_seeds),
                fixed(row.paired_difference, sign="+"),
                span(row.paired_difference_ci95),
                fixed(row.relative_reduction, 1),
                fixed(row.fid),
                span(row.fid_ci95_seeds),
            ]
            for row in rows
            if row.latent_dim == latent_dim
        ]
        lines += [
            [f"{p.name}, {p.source}", str(latent_dim), fixed(p.errors.get(str(latent_dim)))]
            + [NONE] * 6
            for p in sourced(published)
        ]
    return markdown(head, lines)


# Tables of the documentation's pages.


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
    with_pairs = any(row.paired_with for row in rows)
    head, body = list(first), [list(labels) for labels in lines]
    for condition, title in columns.items():
        head += [title, minus(rows)] if with_pairs else [title]
        for cells, line in zip(body, lines.values(), strict=True):
            row = line[condition]
            cells.append(plus_minus(row.error, row.error_ci95_seeds, digits))
            cells += [paired(row, digits)] if with_pairs else []
    return head, body


def results_table(rows: Sequence[ResultRow], learner: str) -> str:
    """One learner: a line for each arm, error and paired difference for each setting."""
    rows = [row for row in rows if row.learner == learner]
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault((arm_label(row),), {})[ways_and_shots(row)] = row
    columns = {name: name for name in _settings(rows).values()}
    return markdown(*_grid(["arm (latents)"], lines, columns))


def learners_table(rows: Sequence[ResultRow], arm: str, published: Sequence[Published]) -> str:
    """One arm: a line for each learner, then a line for each method that others report."""
    rows = [row for row in rows if row.arm == arm]
    lines: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows:
        lines.setdefault((row.learner,), {})[ways_and_shots(row)] = row
    settings = _settings(rows)
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
        labels = (f"{100 * row.labelled:g} %", arm_label(row, row.arm_group))
        lines.setdefault(labels, {})[row.train_episodes] = row
    columns = {n: f"{n:,} episodes" for n in sorted({row.train_episodes for row in rows})}
    return markdown(*_grid(["labels", "arm"], lines, columns))


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
            ["ours", fixed(ours.error), span(ours.error_ci95_seeds), fixed(seconds, 0)],
            [
                peer["name"],
                fixed(peer["error"]),
                span(peer["error_ci95_seeds"]),
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


def lake_page(
    rows: Sequence[LakeRow], arm: str, task: str, trials: int, published: Sequence[Published]
) -> str:
    """A line for each arm and learner on Lake's task, then what others report; or one arm's."""
    head = [task, "error in %", f"95 % of {trials} trials", "95 % over runs", "each seed"]
    lines = [
        [
            f"{arm_label(row)}, {row.learner}",
            fixed(row.error, 1),
            span(row.error_ci95_binomial, 1),
            span(row.error_ci95_runs, 1),
            ", ".join(fixed(error, 1) for error in row.error_by_seed),
            paired(row),
        ]
        for row in rows
        if arm in ("", row.arm)
    ]
    lines += [
        [f"{p.name}, on Lake's own runs ({p.source})", fixed(error, 1), "", "", "", ""]
        for p in ([] if arm else sourced(published))
        for error in p.errors.values()
    ]
    return markdown([*head, "paired difference"], lines)
