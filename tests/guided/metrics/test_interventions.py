"""Errors after interventions, of models that are linear and so perfect or wrong in a known way."""

import numpy as np
import pytest

from guided.metrics import intervention_errors

SLICES = {"cause": (0, 1), "effect": (1, 3), "other": (3, 4)}


@pytest.fixture
def scene():
    """Factors before and after the cause is set; codes are linear in them, the effect's twice."""
    rng = np.random.default_rng(0)
    cause, other, noise, new = rng.normal(size=(4, 300))
    before = {"cause": cause, "effect": 2 * cause + noise, "other": other}
    return before, before | {"cause": new, "effect": 2 * new + noise}


def codes(factors):
    columns = (factors[name] for name in ("cause", "effect", "effect", "other"))
    return 3 + np.column_stack(list(columns)) * [2.0, -1.0, 0.5, 1.0]


def errors(scene, seen):
    before, truth = scene
    found = intervention_errors("cause", codes(before), codes(seen), SLICES, before, truth)
    assert all(entry["unit"] == "%" for entry in found)
    names = [entry["measure"].split("error of ")[1].split(",")[0] for entry in found]
    return dict(zip(names, found, strict=True))


def test_a_perfect_model_errs_nowhere(scene):
    before, truth = scene
    for name, entry in errors(scene, truth).items():
        assert entry["target"] == pytest.approx(0, abs=1e-6)
        moved = np.abs(truth[name] - before[name]).mean() / np.ptp(before[name])
        assert entry["other"] == pytest.approx(100 * moved, abs=1e-3)


def test_effects_that_stay_and_others_that_move_are_errors(scene):
    before, truth = scene
    found = errors(scene, truth | {"effect": before["effect"], "other": before["other"] + 0.1})
    assert found["effect"]["target"] == found["effect"]["other"] > 10
    spread = np.ptp(before["other"])
    assert found["other"]["target"] == pytest.approx(100 * 0.1 / spread, abs=1e-3)
    assert found["other"]["other"] == pytest.approx(0, abs=1e-6)
    assert found["cause"]["target"] == pytest.approx(0, abs=1e-6)
