"""Generate the tables of README.md and docs/ from the files in runs/published.

    python tools/pages.py

rewrites the text between each pair of markers ``<!-- KIND: FILE WHICH -->`` and ``<!-- end -->``.
Kinds: ``results``, ``controls``, ``new_classes`` and ``headline`` (of one learner), ``learners``
and ``learner_controls`` (of one arm), ``budget`` and ``budget_controls`` (of one group of
learners), ``diagnostics``, ``disentanglement`` (scores, or their paired ``differences``), ``costs``
(of trainings, beside an arm), ``systems`` (the arms a,b,…), ``peer``, ``probe``,
``probe_controls``, ``curve`` (of a number of latents), ``lake`` (of all arms, or one),
``lake_controls``, ``latents``, ``nica`` (of ``mcc``, ``information``, their ``_differences``, or
``order``), ``coverage`` (of known data, or of new ``classes``), ``classifiers``, ``faults`` (of
kinds, or of ``commands``), ``fuzzing``, ``select`` (``correlations``, ``regrets`` or ``arms``).
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fewshot.study import page_tables as tables
from fewshot.study.costs import Cost, costs_table
from fewshot.study.disentanglement.rows import score_differences_table, scores_table
from fewshot.study.encoder_facts import latents_table
from fewshot.study.lake.report import LakeResult
from fewshot.study.lake.tables import side_by_side
from fewshot.study.latents.report import LatentsResult
from fewshot.study.measurement import Measurement
from fewshot.study.nica import tables as nica
from fewshot.study.nica.report import NicaResult
from fewshot.study.result import StudyResult
from fewshot.study.select import table as select_tables
from fewshot.study.select.selection import Selection
from fewshot.study.text import fixed, markdown
from guided.storage.files import read_json, write_bytes

ROOT = Path(__file__).resolve().parent.parent


def _results(content: Mapping[str, Any], learner: str) -> str:
    return tables.results_table(StudyResult.from_json(content).rows, learner)


def _controls(content: Mapping[str, Any], learner: str) -> str:
    return tables.controls_table(StudyResult.from_json(content).rows, learner)


def _new_classes(content: Mapping[str, Any], learner: str) -> str:
    return tables.new_classes_table(StudyResult.from_json(content).rows, learner)


def _headline(content: Mapping[str, Any], learner: str) -> str:
    return tables.headline_table(StudyResult.from_json(content).rows, learner)


def _learners(content: Mapping[str, Any], arm: str) -> str:
    study = StudyResult.from_json(content)
    return tables.learners_table(study.rows, arm, study.published)


def _budget(content: Mapping[str, Any], group: str) -> str:
    return tables.budget_table(StudyResult.from_json(content).rows, group)


def _learner_controls(content: Mapping[str, Any], arm: str) -> str:
    return tables.learner_controls_table(StudyResult.from_json(content).rows, arm)


def _budget_controls(content: Mapping[str, Any], group: str) -> str:
    return tables.budget_controls_table(StudyResult.from_json(content).rows, group)


def _probe_controls(content: Mapping[str, Any], _: str) -> str:
    return tables.width_controls_table(LatentsResult.from_json(content).rows)


def _diagnostics(content: Mapping[str, Any], _: str) -> str:
    return tables.measurements_table(list(map(Measurement.from_json, content["diagnostics"])))


def _disentanglement(content: Mapping[str, Any], which: str) -> str:
    rows = StudyResult.from_json(content).disentanglement
    return score_differences_table(rows) if which == "differences" else scores_table(rows)


def _costs(content: Mapping[str, Any], beside: str) -> str:
    return costs_table(list(map(Cost.from_json, content["costs"])), beside)


def _systems(content: Mapping[str, Any], arms: str) -> str:
    costs = list(map(Cost.from_json, content["costs"]))
    return tables.systems_table(StudyResult.from_json(content).rows, costs, arms.split(","))


def _latents(content: Mapping[str, Any], _: str) -> str:
    return latents_table(StudyResult.from_json(content).encoders)


def _peer(content: Mapping[str, Any], _: str) -> str:
    study = StudyResult.from_json(content)
    facts = study.facts
    return tables.peer_table(study.rows[0], study.seconds, facts["peer"], facts["paired_with_peer"])


def _probe(content: Mapping[str, Any], _: str) -> str:
    study = LatentsResult.from_json(content)
    return tables.widths_table(study.rows, study.published)


def _curve(content: Mapping[str, Any], latent_dim: str) -> str:
    return tables.curve_table(LatentsResult.from_json(content).rows, int(latent_dim))


def _lake(content: Mapping[str, Any], arm: str) -> str:
    study = LakeResult.from_json(content)
    return side_by_side(study.rows, study.published, arm)


def _lake_controls(content: Mapping[str, Any], _: str) -> str:
    return tables.lake_controls_table(LakeResult.from_json(content).rows)


def _nica(content: Mapping[str, Any], which: str) -> str:
    found = NicaResult.from_json(content).recoveries
    tables = {
        "mcc": partial(nica.recovery_table, measure="mcc"),
        "information": partial(nica.recovery_table, measure="information"),
        "mcc_differences": partial(nica.differences_table, measure="mcc"),
        "information_differences": partial(nica.differences_table, measure="information"),
        "order": nica.order_table,
    }
    return tables[which](found)


def _coverage(content: Mapping[str, Any], which: str) -> str:
    if which:
        lines = content[which]
        return markdown(list(lines[0]), [list(map(str, line.values())) for line in lines])
    # One line for each kind of data; in a cell, a number for each number of seeds.
    cells = content["coverage"]
    names = [name for name in cells[0] if name not in ("data", "seeds", "episodes")]
    lines = []
    for data in dict.fromkeys(cell["data"] for cell in cells):
        mine = [cell for cell in cells if cell["data"] == data]
        digits = {"crossed": 1}
        line = [" ".join(fixed(cell[n], digits.get(n, 0)) for cell in mine) for n in names]
        lines.append([data, *line])
    return markdown(["data", *names], lines)


def _classifiers(content: Mapping[str, Any], _: str) -> str:
    lines = []
    for found in content["classifiers"]:
        test = found["test"]
        low, high = (fixed(bound, 2) for bound in test["ci95"])
        error = f"{fixed(test['error'], 2)} ({low} to {high})"
        lines.append([found["classifier"], error, f"{test['images']:,}"])
    return markdown(["classifier", "test error, percent (95 %)", "test images"], lines)


def _faults(content: Mapping[str, Any], which: str) -> str:
    lines = content[which]
    total = [sum(numbers) for numbers in zip(*(list(e.values())[1:] for e in lines), strict=True)]
    table = [*(list(line.values()) for line in lines), ["together", *total]]
    return markdown(list(lines[0]), [list(map(str, line)) for line in table])


def _fuzzing(content: Mapping[str, Any], _: str) -> str:
    counts = content["readers"].items()
    faults = sum(content["faults"].values())
    lines = [[name, f"{n:,}"] for name, n in counts]
    total = [f"all, {content['inputs_per_second']} a second, {faults} faults"]
    return markdown(["reader", "inputs"], [*lines, [*total, f"{content['inputs']:,}"]])


def _select(content: Mapping[str, Any], which: str) -> str:
    table = select_tables.MORE[which](Selection.from_json(content))
    return markdown(table.head, table.lines)


KINDS: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    kind.__name__.removeprefix("_"): kind
    for kind in (
        _results,
        _controls,
        _new_classes,
        _headline,
        _learners,
        _learner_controls,
        _budget,
        _budget_controls,
        _diagnostics,
        _disentanglement,
        _costs,
        _systems,
        _peer,
        _probe,
        _probe_controls,
        _curve,
        _lake,
        _lake_controls,
        _latents,
        _nica,
        _coverage,
        _classifiers,
        _faults,
        _select,
        _fuzzing,
    )
}
OPENING = re.compile(r"<!-- (\w+): (\S*)")
CLOSING = "<!-- end -->"
BLOCK = re.compile(rf"(<!-- ({'|'.join(KINDS)}): (\S+) ?(\S*) -->\n)(.*?)(<!-- end -->)", re.S)


def pages(root: Path = ROOT) -> list[Path]:
    """Files that may hold generated tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def fill(text: str, root: Path = ROOT) -> str:
    """Return a page's text with every marked table generated anew.

    Args:
        text: the page.
        root: the folder that the markers' paths start from.

    Raises:
        ValueError: a marker of a kind that there is not, or one without its end.
    """
    for part in text.split(CLOSING)[:-1]:
        if len(OPENING.findall(part)) != 1:
            raise ValueError(f"{CLOSING} without one opening marker before it: ...{part[-80:]!r}")
    for kind, file in OPENING.findall(text):
        if kind not in KINDS:
            raise ValueError(f"{kind}: {file}: no such kind of table")
    if not len(OPENING.findall(text)) == text.count(CLOSING) == len(BLOCK.findall(text)):
        raise ValueError(f"a marker of more words than <!-- KIND: FILE WHICH -->, or no {CLOSING}")

    def block(match: re.Match[str]) -> str:
        opening, kind, file, which, _, closing = match.groups()
        return opening + KINDS[kind](read_json(root / file), which) + closing

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in pages():
        try:
            filled = fill(page.read_text())
        except ValueError as error:
            sys.exit(f"{page}: {error}")
        write_bytes(page, filled.encode())
