"""The state of a run, and the file from which it resumes."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from guided.errors import InputError
from guided.training.state import Progress, ResumableState, check_finite


def recorded(*scores):
    """Progress, and whether each of its scores was the best so far."""
    progress, best = Progress(), []
    for score in scores:
        progress.step += 10
        best.append(progress.record({"score": score, "kl": 1.0}))
    return progress, best


def test_record_keeps_the_lowest_score_and_all_history():
    progress, best = recorded(3.0, 4.0, 2.0, 2.0, math.nan, math.inf)
    assert best == [True, False, True, False, False, False]  # a tie is no improvement
    assert (progress.best_score, progress.best_step) == (2.0, 30)
    assert progress.history[1] == {"step": 20, "score": 4.0, "kl": 1.0}
    assert len(progress.history) == 6
    assert recorded(math.nan)[0].best_score == math.inf


def test_exhausted_counts_validations_since_the_best():
    def exhausted(patience, *scores):
        return recorded(*scores)[0].exhausted(patience)

    assert not exhausted(1) and not exhausted(0, 2, 3, 4, 5)
    assert not exhausted(1, 3, 2) and exhausted(1, 3, 2, 2)
    assert not exhausted(2, 3, 2, 4) and exhausted(2, 3, 2, 4, 5)
    assert not exhausted(2, 3, 2, 4, 1)


class _Malicious:
    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


@pytest.mark.parametrize("kind", ["truncated", "html", "other model", "missing part", "pickle"])
def test_a_damaged_state_is_named_with_the_remedy(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state"
    read = {"model": nn.Linear(3, 3)}
    ResumableState(read).save(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "html":
        path.write_text("<html></html>")
    elif kind == "other model":
        read = {"model": nn.Linear(2, 2)}
    elif kind == "missing part":
        read["optimizer"] = torch.optim.Adam(read["model"].parameters())
    else:
        torch.save({"model": _Malicious(), "progress": {}}, path)
    with pytest.raises(
        InputError, match=r"state: damaged, or not a state of this training; delete"
    ) as caught:
        ResumableState(read).restore(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_check_finite_names_term_step_and_remedy(value):
    terms = {"kl": torch.tensor(1e30), "orthogonality": torch.tensor(value)}
    with pytest.raises(InputError, match=rf"^orthogonality: .*{value} at step 7;.*\(0\.01\)"):
        check_finite(terms, 7, 0.01)
