"""Rows that are drawn to be computed again, and their estimated cost."""

from types import SimpleNamespace

import numpy as np
import pytest

from fewshot.study.agreement import Values
from fewshot.study.cells import Cells
from fewshot.study.costs import Cost
from fewshot.study.row_tests import RowTest
from fewshot.study.spot_check import drawn
from guided.errors import InputError

ARMS, SEEDS = ("pixels", "vae", "guided"), (0, 1)


@pytest.fixture
def study(tmp_path):
    """Three arms, two of them trained, with two seeds each; two tests in each cell."""
    cells = Cells(tmp_path)

    def tests():
        found = []
        for arm in ARMS:
            for seed in SEEDS:
                depends, log = {"arm": arm, "seed": seed}, "" if arm == "pixels" else arm
                name = f"encoder-{arm}-seed{seed}"
                encoder = cells.plan(name, depends, lambda _: None, log=log)
                needs = {"encoder": encoder}
                cell = cells.plan(f"wrong-{arm}-{seed}", {}, lambda _: None, needs=needs)
                found += [RowTest((arm, shots), seed, cell, lambda: 0) for shots in ("1", "5")]
        return found

    return SimpleNamespace(cells=cells, tests=tests)


ROWS = {
    key: Values(key, SEEDS, 0.0, None, np.zeros((2, 3)))
    for key in ((arm, shots) for arm in ARMS for shots in ("1", "5"))
}


def test_a_draw_is_a_function_of_its_seed_and_every_test_can_be_drawn(study):
    first = drawn(study, ROWS, 3, 0)
    again = drawn(study, ROWS, 3, 0)
    assert [(t.key, t.seed) for t in first.tests] == [(t.key, t.seed) for t in again.tests]
    seen = {(t.key, t.seed) for seed in range(40) for t in drawn(study, ROWS, 3, seed).tests}
    assert len(seen) == first.n_tests == 12
    whole = drawn(study, ROWS, 99, 0)
    assert len({(t.key, t.seed) for t in whole.tests}) == len(whole.tests) == 12
    assert (whole.n_trainings, whole.n_all_trainings) == (4, 4)


def test_what_is_not_on_file_is_not_drawn(study):
    some = {("vae", "1"): ROWS["vae", "1"], ("pixels", "1"): Values(("pixels", "1"), SEEDS, 0.0)}
    chosen = drawn(study, some, 9, 0)
    assert {(t.key, t.seed) for t in chosen.tests} == {(("vae", "1"), 0), (("vae", "1"), 1)}
    assert {task.cell.name.rpartition("-")[0] for task in chosen.part.tasks.values()} == {
        *(f"encoder-vae-seed{seed}" for seed in SEEDS),
        *(f"wrong-vae-{seed}" for seed in SEEDS),
    }
    with pytest.raises(InputError, match="no row of its configuration"):
        drawn(study, {}, 9, 0)


def test_the_cost_is_that_of_the_encoders_or_their_share_of_the_whole(study):
    vae = {key: row for key, row in ROWS.items() if key[0] == "vae"}
    assert drawn(study, vae, 9, 0).minutes is None
    assert drawn(study, vae, 9, 0, seconds=1200).minutes == 10
    costs = [
        Cost(arm, seed, steps=3, seconds=500, processor_seconds=seconds)
        for arm, seconds in (("vae", 60), ("guided", None))
        for seed in SEEDS
    ]
    assert drawn(study, vae, 9, 0, costs, 1200).minutes == 2
    guided = {key: row for key, row in ROWS.items() if key[0] == "guided"}
    assert drawn(study, guided, 9, 0, costs).minutes == pytest.approx(1000 / 60)
    assert drawn(study, {("pixels", "1"): ROWS["pixels", "1"]}, 9, 0, seconds=9).minutes == 0
