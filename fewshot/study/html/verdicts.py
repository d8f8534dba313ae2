"""Verdicts on each guided arm over all settings, and reasons for caution."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.chance import CONSTANT, Chance, beside_chance
from fewshot.study.encoder_facts import cautions
from fewshot.study.html.content import Content
from fewshot.study.html.pictures import ended_at_best
from fewshot.study.rows import Pair, ResultRow
from fewshot.study.tables import FEW_SEEDS
from fewshot.study.text import STANDS, arm_label, fixed, span, ways_and_shots

FEW_STEPS = 1000
COLLAPSED = 1.0
"""KL of all latents together, in nats per image, below which the posterior says next to nothing.
Of studies that did not keep the KL of each latent."""

FEWER, MORE, NONE_FOUND, NOT_SIGNIFICANT, MIXED, OPEN = (
    "fewer errors",
    "more errors",
    "no difference found",
    "no significant difference",
    "fewer in some, more in others",
    "cannot be judged",
)


@dataclass(frozen=True)
class Verdict:
    """A guided arm or a learner beside one partner, over all conditions.

    Attributes:
        by: ``arm`` or ``learner``: what the two are.
        name, partner: names.
        question: what the difference answers; None: what the names say.
        word: the verdict in a few words.
        symbol: the same as one character.
        sentence: the numbers that it rests on.
    """

    by: str
    name: str
    partner: str
    question: str | None
    word: str
    symbol: str
    sentence: str


SYMBOLS = {FEWER: "▼", MORE: "▲", NONE_FOUND: "=", NOT_SIGNIFICANT: "≈", MIXED: "±", OPEN: "?"}


def verdicts(rows: Sequence[ResultRow]) -> list[Verdict]:
    """One for each partner of each guided arm, and of each learner that has some.

    Learners that have the same errors, because nothing was trained, are left out.
    """
    found: dict[tuple[str, str, str], list[tuple[ResultRow, Pair]]] = {}
    for row in rows:
        for pair in row.pairs:
            name = row.arm if pair.by == "arm" else row.learner
            if row.guidance if pair.by == "arm" else pair.ci95 != (0.0, 0.0):
                found.setdefault((pair.by, name, pair.partner), []).append((row, pair))
    return [_verdict(*names, pairs) for names, pairs in found.items()]


def _verdict(by: str, name: str, partner: str, found: list[tuple[ResultRow, Pair]]) -> Verdict:
    pairs = [pair for _, pair in found]
    tested = [pair for pair in pairs if pair.p is not None and pair.difference is not None]
    fewer = [pair for pair in tested if pair.stands and (pair.difference or 0) < 0]
    more = [pair for pair in tested if pair.stands and (pair.difference or 0) > 0]
    if not tested:
        word = OPEN
    elif fewer and more:
        word = MIXED
    else:
        found_none = NOT_SIGNIFICANT if any(pair.apart for pair in tested) else NONE_FOUND
        word = FEWER if fewer else MORE if more else found_none
    questions = {pair.question for pair in pairs}
    question = questions.pop() if len(questions) == 1 else None
    sentence = f"{_counted(tested, fewer, more)} {_sizes(pairs)} {_conditions(found)}"
    return Verdict(by, name, partner, question, word, SYMBOLS[word], sentence)


def _counted(tested: Sequence[Pair], fewer: Sequence[Pair], more: Sequence[Pair]) -> str:
    if not tested:
        return "One pretraining each cannot tell what another would do."
    n = len(tested)
    parts = [f"{len(s)} with {w} errors" for s, w in ((fewer, "fewer"), (more, "more")) if s]
    apart = [pair for pair in tested if pair.apart]
    down = sum((pair.difference or 0) < 0 for pair in apart)
    alone = f"{len(apart)} of {n} intervals exclude 0 on their own"
    if apart:
        alone += f" ({down} towards fewer errors, {len(apart) - down} towards more)"
    together = f"{' and '.join(parts)}, of {n}, are" if parts else f"None of {n} is"
    return f"{together} significant after the correction for all comparisons; {alone}."


def _sizes(pairs: Sequence[Pair]) -> str:
    sizes = [pair.difference for pair in pairs if pair.difference is not None]
    if not sizes:
        return ""
    low, high = min(sizes), max(sizes)
    if low == high:
        return f"Difference {fixed(low, sign='+')} points."
    return f"Differences from {fixed(low, sign='+')} to {fixed(high, sign='+')} points."


def _conditions(found: Sequence[tuple[ResultRow, Pair]]) -> str:
    rows = [row for row, _ in found]
    kinds: dict[str, set[Any]] = {
        "arm": {row.arm for row in rows},
        "learner": {row.learner for row in rows},
        "setting": {row.setting for row in rows},
        "choice of latents": {row.latents for row in rows},
    }
    named = [
        f"{len(values)} {name if len(values) == 1 else name.replace('choice', 'choices')}"
        + ("s" if len(values) > 1 and not name.startswith("choice") else "")
        for name, values in kinds.items()
    ]
    n = len(rows[0].seeds)
    return f"({', '.join(named)}; {n} seed{'s' * (n > 1)} × {rows[0].episodes} episodes.)"


def warnings(content: Content) -> list[str]:
    """Reasons for caution, one sentence each; none where there is none."""
    return [*_few(content), *faults(content)]


def faults(content: Content) -> list[str]:
    """Signs that something is plainly wrong, one sentence each; a terminal shows them too."""
    known = content.result
    return [*known.noticed, *_at_chance(content), *_collapsed(content), *cautions(known.encoders)]


def _few(content: Content) -> Iterator[str]:
    n = len(content.rows[0].seeds)
    if n < FEW_SEEDS:
        what = {
            1: "One seed: intervals are over episodes, and nothing is said of other pretrainings.",
            2: "Two seeds: Student's t is 12.7, so that intervals are valid and nearly useless.",
        }
        yield what.get(n, f"{n} seeds: fewer than {FEW_SEEDS}, so that intervals are wide.")
    if any(row.error_ci95 is None for row in content.rows):
        yield "Some rows have no interval, because the counts that it needs were not kept."
    pretrained = [row for row in content.rows if row.encoder == "pretrained"]
    steps = content.config.get("pretrain", {}).get("steps")
    if pretrained and steps is not None and steps < FEW_STEPS:
        yield f"Pretraining has only {steps} steps, fewer than {FEW_STEPS}."
    ended: dict[str, list[bool]] = {}
    for curve in content.curves:
        ended.setdefault(curve.arm, []).append(ended_at_best(curve))
    growing = [arm for arm, last in ended.items() if all(last) and len(last) == n]
    if growing:
        yield f"Training ended at its best score yet, for every seed of: {', '.join(growing)}."


def _at_chance(content: Content) -> Iterator[str]:
    found: dict[tuple[str, Chance], list[str]] = {}
    errors = content.errors if content.counts else {}
    for row in content.rows:
        interval = row.error_ci95 or (row.error, row.error)
        if word := beside_chance(row.n_way, interval, errors.get(row.key)):
            where = f"{row.learner}, {ways_and_shots(row)}"
            found.setdefault((arm_label(row), word), []).append(where)
    for (arm, word), places in found.items():
        at = "; ".join(places)
        if word == "constant":
            yield f"{arm} ({at}): {CONSTANT}."
        else:
            yield f"The interval of {arm} reaches chance: {at}."


def _collapsed(content: Content) -> Iterator[str]:
    found: dict[str, list[tuple[int, float]]] = {}
    measured = {(facts.arm, facts.seed) for facts in content.result.encoders if facts.kl}
    for curve in content.curves:
        if (curve.arm, curve.seed) in measured:
            continue
        kl = curve.history[curve.kept].get("kl")
        if curve.elbo and kl is not None and kl < COLLAPSED:
            found.setdefault(curve.arm, []).append((curve.seed, kl))
    for arm, seeds in found.items():
        each = ", ".join(f"{fixed(kl)} for seed {seed}" for seed, kl in seeds)
        yield (
            f"The posterior of {arm} has collapsed: the KL of all latents together is below "
            f"{COLLAPSED:g} nat per image ({each})."
        )


def summary(rows: Sequence[ResultRow]) -> str:
    """The number of comparisons, and of those that are significant."""
    pairs = [pair for row in rows for pair in row.pairs if pair.p is not None]
    significant = sum(pair.stands for pair in pairs)
    first = rows[0]
    size = f"{len(first.seeds)} seed{'s' * (len(first.seeds) > 1)} × {first.episodes} episodes"
    errors = [row.error for row in rows]
    return (
        f"{len(pairs)} paired comparisons, of which {significant} are significant ({STANDS}) after "
        f"Holm's correction; {size}; errors from {span((min(errors), max(errors)), 1)} %."
    )
