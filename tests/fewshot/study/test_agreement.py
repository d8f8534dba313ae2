"""Rows computed again beside those on file: equal, expected elsewhere, or wrong."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fewshot.study.agreement import Values, agreement, other_kind, values_of
from fewshot.study.counts import Counts
from fewshot.study.rows import ResultRow
from guided.errors import InputError

KEY = ("vae", "ridge", "all", "5w1s")


def values(errors, seeds=None, interval=None):
    errors = np.atleast_2d(np.asarray(errors, float))
    seeds = tuple(range(len(errors)) if seeds is None else seeds)
    return Values(KEY, seeds, float(errors.mean()), interval, errors)


def trainings(rng, n, sd=0.5, episodes=50):
    """Errors ``[n, episodes]`` of trainings that differ by ``sd``, on the same episodes."""
    of_episode = np.linspace(-5, 5, episodes)
    return 30 + sd * rng.standard_normal((n, 1)) + of_episode


def test_equal_values_are_the_same_and_one_other_is_counted():
    errors = trainings(np.random.default_rng(0), 3)
    found = agreement(values(errors), values(errors.copy()), rows=1)
    assert (found.verdict, found.differ, found.units) == ("same", 0, 150)
    assert found.agrees(same_kind=True)
    changed = errors.copy()
    changed[1, 7] += 1
    found = agreement(values(errors), values(changed), rows=1)
    assert (found.verdict, found.differ) == ("within", 1)
    assert not found.agrees(same_kind=True)
    assert found.agrees(same_kind=False)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 1), (4, 2)])
def test_the_interval_is_that_of_students_test_of_two_samples(n, m):
    """By scipy: at the interval's ends p is 5 % divided by the rows."""
    rng = np.random.default_rng(n + m)
    old, new = trainings(rng, n), trainings(rng, m)
    found = agreement(values(old), values(new, range(m)), rows=4)
    assert found.published == pytest.approx(old[:m].mean())
    for end in found.interval:
        moved = new.mean(1) - new.mean() + end
        assert ttest_ind(moved, old.mean(1)).pvalue == pytest.approx(0.05 / 4)


def test_trainings_of_the_same_kind_are_seldom_outside():
    """5 rows a study, 600 studies: one or more of them in about 5 %."""
    rng, outside = np.random.default_rng(0), 0
    for _ in range(600):
        rows = [(trainings(rng, 3, episodes=4), trainings(rng, 3, episodes=4)) for _ in range(5)]
        found = [agreement(values(old), values(new), 5).verdict for old, new in rows]
        outside += "outside" in found
    assert 0.02 < outside / 600 < 0.08


def test_an_encoder_without_training_may_differ_by_rounding_alone():
    errors = np.tile(np.linspace(10, 50, 400), (3, 1))
    rounded, shifted = errors.copy(), errors + 0.5
    rounded[:, ::80] += np.array([2, -2, 2, 2, -2])
    assert agreement(values(errors), values(rounded), 1).verdict == "within"
    found = agreement(values(errors), values(shifted), 1)
    assert found.verdict == "outside"
    assert found.interval == pytest.approx((30, 30))


def test_means_alone_are_compared_by_what_is_stored_of_them():
    """Of the seeds as far as they are known, else of the row."""
    new = values([[40.0, 20.0], [50.0, 30.0]])
    of_seeds = Values(KEY, (0, 1), 35.0, None, np.array([[30.00004], [40.0]]))
    assert agreement(of_seeds, new, 1).verdict == "same"
    for error, interval, verdict in (
        (35.00001, (34, 36), "same"),
        (35.2, (34, 36), "within"),
        (37.0, (36, 38), "outside"),
        (37.0, None, "outside"),
    ):
        assert agreement(Values(KEY, (0, 1), error, interval), new, 1).verdict == verdict
    one = agreement(values([[10.0, 20.0]], interval=(14, 18)), values([[11.0, 20.0]]), 1)
    assert (one.verdict, one.interval) == ("within", (14, 18)), "nothing tells of other trainings"


def test_other_seeds_or_episodes_are_refused():
    old = values(np.zeros((2, 5)))
    with pytest.raises(InputError, match=r"seeds \(2,\), on file \(0, 1\)"):
        agreement(old, values(np.zeros((1, 5)), [2]), 1)
    with pytest.raises(InputError, match="4 episodes, runs or images, on file 5"):
        agreement(old, values(np.zeros((2, 4))), 1)


def test_counts_of_another_error_are_refused():
    row = ResultRow(
        **{"arm": "vae", "arm_group": "vae", "encoder": "pretrained", "guidance": ()},
        **{"seeds": (0, 1), "error": 12.5, "labelled": 1.0, "learner": "ridge"},
        **{"learner_group": "ridge", "latents": "all", "transductive": False},
        **{"batch_norm": "frozen", "test_views": 0, "meta_trained": False, "train_episodes": 0},
        **{"n_way": 5, "n_shot": 1, "n_query": 2, "episodes": 2, "test_classes": 9},
    )
    result = type("R", (), {"rows": (row,)})
    wrong = np.array([[1, 2], [1, 1]], np.uint8)
    (found,) = values_of(result, Counts({KEY: wrong})).values()
    assert found.values.tolist() == [[10, 20], [10, 10]]
    with pytest.raises(InputError, match=r"the error 12\.5 %, its counts 15\.0000"):
        values_of(result, Counts({KEY: wrong + np.array([[0, 1], [0, 0]], np.uint8)}))
    with pytest.raises(InputError, match="expected counts of 2 seeds and 2 episodes"):
        values_of(result, Counts({KEY: wrong[:1]}))


def test_bits_depend_on_the_machine_torch_and_the_threads():
    here = {
        "hardware": {"processor": "A", "device": "cpu", "cores": 2},
        "versions": {"torch": "2", "numpy": "2"},
        "config": {"threads": 1},
    }
    assert other_kind(here, here) == []
    more = {**here, "hardware": {**here["hardware"], "cores": 64}}
    assert other_kind(more, here) == [], "cells are computed on the threads of the configuration"
    old = {"hardware": {"processor": "B", "device": "cpu"}, "versions": {"torch": "1"}}
    assert other_kind(old, here) == ["processor B → A", "torch 1 → 2", "threads unknown → 1"]
    assert len(other_kind({}, here)) == 4
