"""One study from several runs of it with other seeds: on several machines, or added later."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from fewshot.study.cell_index import CellIndex
from fewshot.study.counts import Counts
from fewshot.study.disentanglement.rows import ScoreRow, score_rows
from fewshot.study.html.content import Content
from fewshot.study.html.setup import lean
from fewshot.study.html.verdicts import faults
from fewshot.study.result import StudyResult, revisions_of
from fewshot.study.rows import Pair, ResultRow
from guided.errors import InputError


def joined(contents: Sequence[Content]) -> Content:
    """The study of all seeds, scored from all counts.

    Pictures and learning curves are those of the runs whose cells are at hand.

    Args:
        contents: runs of one configuration, apart from ``seeds``, on the same test episodes.

    Raises:
        InputError: they differ in more than their seeds, or share a seed; names the file and key.
    """
    ordered = sorted(contents, key=lambda content: min(_seeds(content)))
    first, *others = ordered
    for other in others:
        _check(first, other)
    held = [(seed, content) for content in ordered for seed in _seeds(content)]
    for seed, content in held:
        if (other := next(c for s, c in held if s == seed)) is not content:
            raise InputError(f"{content.file}: seed {seed} is in {other.file} too")
    counts = Counts(
        {
            key: np.concatenate([_counts(content).wrong[key] for content in ordered])
            for key in _counts(first).wrong
        },
        _counts(first).episodes,
    )
    result = _result([content.result for content in ordered], counts)
    index = CellIndex.union(content.index for content in ordered)
    whole = replace(first, result=result, counts=counts, index=index)
    return replace(whole, result=_with(result, warnings=faults(whole)))


def _result(results: Sequence[StudyResult], counts: Counts) -> StudyResult:
    """The result of all seeds."""
    first = results[0]
    seeds = tuple(seed for result in results for seed in result.rows[0].seeds)

    def of_all(name: str) -> tuple[Any, ...]:
        return tuple(chain.from_iterable(map(attrgetter(name), results)))

    whole = replace(
        first,
        rows=tuple(replace(row, seeds=seeds) for row in first.rows),
        diagnostics=of_all("diagnostics"),
        encoders=of_all("encoders"),
        choices=of_all("choices"),
        disentanglement=tuple(all_scores([result.disentanglement for result in results])),
        seconds=sum(result.seconds for result in results),
        seconds_reused=sum(result.seconds_reused for result in results),
    )
    every = [result.facts for result in results]
    return _with(
        whole.rescored(counts),
        noticed=list(dict.fromkeys(chain.from_iterable(map(attrgetter("noticed"), results)))),
        costs=[cost for facts in every for cost in facts.get("costs", ())],
        revisions=sorted(set(chain.from_iterable(map(revisions_of, every)))),
        config={**first.facts["config"], "seeds": list(seeds)},
        joined=list(chain.from_iterable(map(_parts, results))),
    )


MEANINGS = {
    "format": "made by a version whose trainings come to other numbers",
    "images": "made with other images",
}


def _parts(result: StudyResult) -> list[dict[str, Any]]:
    """The runs that a result is made of, each with its seeds, versions and hardware."""
    own = {name: result.facts.get(name) for name in ("versions", "hardware")}
    parts: list[dict[str, Any]] = result.facts.get("joined", [])
    return parts or [{"seeds": list(result.rows[0].seeds), **own}]


def _with(result: StudyResult, **facts: Any) -> StudyResult:
    return replace(result, facts={**result.facts, **facts})


def all_scores(rows: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
    """Scores against factors of all seeds, from those of each run."""
    found: dict[str, list[dict[str, float]]] = {}
    partners: dict[str, list[str]] = {}
    for run in rows:
        own: dict[str, dict[str, tuple[float, ...]]] = {}
        for row in run:
            own.setdefault(row.arm, {})[row.score] = row.values
            partners[row.arm] = [pair.partner for pair in row.pairs]
        for arm, scores in own.items():
            of_seeds = zip(*scores.values(), strict=True)
            found.setdefault(arm, []).extend(
                dict(zip(scores, values, strict=True)) for values in of_seeds
            )
    return score_rows(found, partners)


def _seeds(content: Content) -> tuple[int, ...]:
    return content.rows[0].seeds


def _counts(content: Content) -> Counts:
    assert content.counts is not None
    return content.counts


def _check(first: Content, other: Content) -> None:
    """Refuse runs that are not of one study."""
    for content in (first, other):
        if not content.config:
            raise InputError(f"{content.file}: holds no configuration to compare")
    known, own = (_without_seeds(content.config) for content in (first, other))
    if different := _difference(known, own):
        key, ours, theirs = different
        raise InputError(
            f"{other.file}: {key} is {_short(theirs)}, but {_short(ours)} in {first.file}; only "
            "the seeds may differ"
        )
    for fact in ("format", "images"):  # not in results of versions that did not record them
        ours, theirs = (content.result.facts.get(fact) for content in (first, other))
        if ours and theirs and ours != theirs:
            raise InputError(f"{other.file}: {MEANINGS[fact]} than {first.file}")
    rows, others = ([_unscored(row) for row in content.rows] for content in (first, other))
    if rows != others or set(_counts(first).wrong) != set(_counts(other).wrong):
        raise InputError(f"{other.file}: other rows than those of {first.file}")
    for label, episodes in _counts(first).episodes.items():
        drawn = _counts(other).episodes.get(label)
        if drawn is None or not (
            drawn.seed == episodes.seed and np.array_equal(drawn.classes, episodes.classes)
        ):
            raise InputError(f"{other.file}: {label}: other test episodes than {first.file}")


def _unscored(row: ResultRow) -> ResultRow:
    """What runs with other seeds have in common."""
    pairs = tuple(
        Pair(by=pair.by, partner=pair.partner, latents=pair.latents, question=pair.question)
        for pair in row.pairs
    )
    return replace(
        row, seeds=(), error=0.0, error_ci95=None, error_ci95_new_classes=None, pairs=pairs
    )


def _without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in lean(config).items() if key != "seeds"}


def _difference(one: Any, other: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key that differs, and both its values."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys([*one, *other]):
            inner = f"{key}.{name}" if key else str(name)
            if found := _difference(one.get(name), other.get(name), inner):
                return found
        return None
    return None if one == other else (key, one, other)


def _short(value: Any) -> str:
    if value is None:
        return "not given"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
