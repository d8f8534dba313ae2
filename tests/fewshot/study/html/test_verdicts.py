"""Verdicts over all settings, and warnings that appear exactly when their cause holds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fewshot.study.html.tables import EXPLAINED, measures
from fewshot.study.html.verdicts import (
    FEWER,
    MIXED,
    MORE,
    NONE_FOUND,
    NOT_SIGNIFICANT,
    OPEN,
    verdicts,
    warnings,
)


def rows_with(content, *differences, seeds=(0, 1), p=0.5):
    """Guided rows with these differences and whether each is significant, and a baseline."""
    guided = next(row for row in content.rows if row.guidance)
    found = []
    for difference, stands, apart in differences:
        ci = (difference - 0.1, difference + 0.1) if apart else (-20.0, 20.0)
        pair = replace(guided.pair, difference=difference, stands=stands, ci95=ci, p=p)
        found.append(replace(guided, pairs=(pair,), seeds=seeds))
    return found


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([(-3.0, True, True), (-1.0, False, False)], FEWER),
        ([(3.0, True, True), (-1.0, False, True)], MORE),
        ([(3.0, True, True), (-1.0, True, True)], MIXED),
        ([(-3.0, False, True), (-1.0, False, False)], NOT_SIGNIFICANT),
        ([(-3.0, False, False), (1.0, False, False)], NONE_FOUND),
    ],
)
def test_a_verdict_is_what_is_significant_over_all_settings(content, differences, word):
    (verdict,) = verdicts(rows_with(content, *differences))
    assert (verdict.name, verdict.partner, verdict.word) == ("guided", "vae", word)
    low, high = min(d for d, *_ in differences), max(d for d, *_ in differences)
    assert f"from {low:+.2f} to {high:+.2f} points" in verdict.sentence
    assert f"{sum(apart for *_, apart in differences)} of 2 intervals" in verdict.sentence


def test_one_seed_is_no_verdict(content):
    (verdict,) = verdicts(rows_with(content, (-3.0, False, True), seeds=(0,), p=None))
    assert verdict.word == OPEN
    assert "1 seed × 20 episodes" in verdict.sentence


def test_learners_are_judged_over_all_arms(content):
    guided, vae = (next(r for r in content.rows if r.arm == arm) for arm in ("guided", "vae"))
    pair = replace(guided.pair, by="learner", partner="other", difference=-2.0, stands=True)
    same = replace(pair, ci95=(0.0, 0.0))
    rows = [replace(row, pairs=(pair,)) for row in (guided, vae)]
    (verdict,) = verdicts([*rows, replace(guided, learner="untrained", pairs=(same,))])
    assert (verdict.by, verdict.name, verdict.word) == ("learner", guided.learner, FEWER)
    assert "2 arms, 1 learner, 1 setting" in verdict.sentence


def test_every_guided_arm_and_no_other_has_a_verdict(content):
    assert [v.name for v in verdicts(content.rows)] == ["guided"]


@pytest.fixture
def calm(content):
    """The study without any cause for a warning."""
    rows = tuple(
        replace(row, seeds=(0, 1, 2, 3, 4), error=20.0, error_ci95=(19.0, 21.0))
        for row in content.rows
    )
    config = {**content.config, "pretrain": {**content.config["pretrain"], "steps": 1000}}
    facts = {**content.result.facts, "config": config}
    calm = replace(content, result=replace(content.result, rows=rows, facts=facts))
    # A cached property is an attribute of the instance.
    history = [
        {"step": 1, "score": 5.0, "kl": 9.0, "negative_elbo": 9.0},
        {"step": 2, "score": 6.0, "kl": 9.0, "negative_elbo": 9.0},
    ]
    curves = [replace(curve, history=history) for curve in content.curves]
    vars(calm)["curves"] = curves
    assert all(facts.kl for facts in calm.result.encoders)
    return calm


def change_rows(content, **values):
    result = content.result
    changed = replace(result, rows=tuple(replace(row, **values) for row in result.rows))
    new = replace(content, result=changed)
    vars(new)["curves"] = content.curves
    return new


def test_no_warning_without_a_cause(calm):
    assert warnings(calm) == []


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"seeds": (0, 1, 2, 3)}, "4 seeds: fewer than 5"),
        ({"seeds": (0, 1)}, "Two seeds: Student's t is 12.7"),
        ({"seeds": (0,)}, "One seed"),
        ({"error_ci95": None}, "Some rows have no interval"),
    ],
)
def test_few_seeds_and_missing_counts_warn(calm, values, start):
    (line,) = warnings(change_rows(calm, **values))
    assert line.startswith(start)


def test_chance_warns_of_the_arm_that_reaches_it(calm):
    rows = list(calm.rows)
    rows[0] = replace(rows[0], n_way=3, error_ci95=(60.0, 67.0))
    changed = replace(calm, result=replace(calm.result, rows=tuple(rows)))
    vars(changed)["curves"] = calm.curves
    (line,) = warnings(changed)
    assert line.startswith(f"The interval of {rows[0].arm} reaches chance: {rows[0].learner}")


def test_answers_that_are_all_the_same_warn(calm):
    rows = [replace(row, error=100 - 100 / row.n_way) for row in calm.rows]
    rows = [replace(row, error_ci95=(row.error, row.error)) for row in rows]
    changed = replace(calm, result=replace(calm.result, rows=tuple(rows)))
    vars(changed)["curves"] = calm.curves
    varying = rows[0].key
    vars(changed)["errors"] = {
        row.key: np.full((5, 20), row.error) + (row.key == varying) * np.eye(5, 20) for row in rows
    }
    first, *others = warnings(changed)
    assert first.startswith(f"The interval of {rows[0].arm} reaches chance: {rows[0].learner}")
    assert all("every episode has exactly the error of chance" in line for line in others)
    named = {line.partition(" (")[0] for line in others}
    assert named >= {row.arm for row in rows[2:]}


def test_what_was_noticed_of_the_images_is_a_warning(calm):
    facts = {**calm.result.facts, "noticed": ["All 9 test images are the same."]}
    changed = replace(calm, result=replace(calm.result, facts=facts))
    vars(changed)["curves"] = calm.curves
    assert warnings(changed) == ["All 9 test images are the same."]


def test_few_steps_warn(calm):
    config = {**calm.config, "pretrain": {**calm.config["pretrain"], "steps": 999}}
    result = replace(calm.result, facts={**calm.result.facts, "config": config})
    changed = replace(calm, result=result)
    vars(changed)["curves"] = calm.curves
    assert warnings(changed) == ["Pretraining has only 999 steps, fewer than 1000."]


def test_trainings_that_ended_too_early_or_collapsed_warn(calm):
    curves = calm.curves

    def with_history(seeds=range(5), **values):
        entries = [{**entry} for entry in curves[0].history]
        entries[values.pop("at")].update(values)
        changed = replace(calm)
        vae = next(c for c in curves if c.arm == "vae")
        own = [replace(vae, history=entries, seed=seed) for seed in seeds]
        vars(changed)["curves"] = [*own, *(c for c in curves if c.arm != "vae")]
        return warnings(changed)

    assert with_history(at=1, score=4.0) == [
        "Training ended at its best score yet, for every seed of: vae."
    ]
    assert with_history(seeds=(0, 1), at=1, score=4.0) == [], "the curves of three are not at hand"
    assert with_history(seeds=(0, 1), at=0, kl=0.4) == [], "the KL of each latent is known"
    calm = replace(calm, result=replace(calm.result, encoders=()))
    vars(calm)["curves"] = curves
    (line,) = with_history(at=0, kl=0.4)
    assert line.startswith("The posterior of vae has collapsed")
    assert "0.40 for seed 0, 0.40 for seed 1" in line
    assert with_history(at=1, kl=0.4) == [], "of a state that was not kept"


def with_facts(content, **changes):
    """The study with other facts of the encoders of one arm."""
    encoders = tuple(
        replace(facts, **changes) if facts.arm == "guided" else facts
        for facts in content.result.encoders
    )
    new = replace(content, result=replace(content.result, encoders=encoders))
    vars(new)["curves"] = content.curves
    return new


def test_the_kl_of_each_latent_tells_a_collapse(calm):
    """Not the sum: that of the kept state is 9 nats, and would be 0.5 nats without a collapse."""
    (line,) = warnings(with_facts(calm, kl=(0.009, 0.0001)))
    assert line.startswith("The posterior of guided has collapsed (seeds 0, 1)")
    assert line.endswith("the largest 0.009.")
    assert warnings(with_facts(calm, kl=(0.5, 0.0))) == []


def test_a_basis_that_has_not_converged_is_named(calm):
    falling = {"kept_step": 2, "last_step": 8, "falls": 0.2}
    (line,) = warnings(with_facts(calm, basis=True, **falling))
    assert line == (
        "Basis not converged: guided (seeds 0, 1); for seed 0, its held-out loss still fell in "
        "the last quarter of the steps, by 20 % of its whole fall."
    )
    assert warnings(with_facts(calm, basis=False, **falling)) == []
    (line,) = warnings(with_facts(calm, basis=True, kept_step=8, last_step=8, falls=0.001))
    assert line.endswith("its last validation is its best.")
    assert warnings(with_facts(calm, basis=True, kept_step=2, last_step=8, falls=0.001)) == []


def test_diagnostics_are_means_over_seeds_with_a_sentence_each(finished, content):
    (measure,) = measures(content.result.diagnostics)
    assert measure.explanation in dict(EXPLAINED).values()
    entries = finished.results["diagnostics"]
    for arm, target, other in measure.lines:
        of_arm = [entry for entry in entries if entry["arm"] == arm]
        assert target == f"{sum(e['target'] for e in of_arm) / len(of_arm):.1f}"
        assert other == f"{sum(e['other'] for e in of_arm) / len(of_arm):.1f}"
    assert json.dumps(entries).count('"arm"') == 2 * len(measure.lines)
