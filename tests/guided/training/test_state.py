"""The state of a run, and the file from which it resumes."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from guided.errors import InputError
from guided.training.state import Progress, ResumableState, check_finite


def recorded(*scores):
    progress = Progress()
    for score in scores:
        progress.step += 10
        progress.record({"score": score})
    return progress


def test_record_keeps_the_lowest_score_and_all_history():
    progress = Progress(step=10)
    verdicts = []
    for score in (3.0, 4.0, 2.0, 2.0):
        verdicts.append(progress.record({"score": score, "kl": 1.0}))
        progress.step += 10
    assert verdicts == [True, False, True, False]  # a tie is no improvement
    assert (progress.best_score, progress.best_step) == (2.0, 30)
    assert progress.history[1] == {"step": 20, "score": 4.0, "kl": 1.0}
    assert [entry["step"] for entry in progress.history] == [10, 20, 30, 40]


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_never_the_best(score):
    assert recorded(score).best_score == math.inf
    progress = recorded(3.0, score)
    assert (progress.best_score, progress.best_step) == (3.0, 10)


def test_exhausted_counts_validations_since_the_best():
    assert not recorded().exhausted(1)
    assert not recorded(2, 3, 4, 5).exhausted(0)
    assert not recorded(3, 2).exhausted(1)
    assert recorded(3, 2, 2).exhausted(1)
    assert not recorded(3, 2, 4).exhausted(2)
    assert recorded(3, 2, 4, 5).exhausted(2)
    assert not recorded(3, 2, 4, 1).exhausted(2)


def parts(seed, width=3):
    torch.manual_seed(seed)
    model = nn.Linear(width, width)
    optimizer = torch.optim.Adam(model.parameters(), 0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(2, width)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_restored_parts_go_on_as_the_saved_ones(tmp_path):
    path = tmp_path / "state"
    model, optimizer = parts(0)
    saved = ResumableState({"model": model, "optimizer": optimizer}, recorded(3.0, 2.0))
    saved.save(path)
    other, other_optimizer = parts(1)
    restored = ResumableState({"model": other, "optimizer": other_optimizer})
    restored.restore(path)
    assert restored.progress == saved.progress
    for m, o in ((model, optimizer), (other, other_optimizer)):
        o.zero_grad()
        m(torch.ones(2, 3)).sum().backward()
        o.step()
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


class _Malicious:
    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


@pytest.mark.parametrize("kind", ["truncated", "html", "other model", "missing part", "pickle"])
def test_a_damaged_state_is_named_with_the_remedy(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state"
    model, optimizer = parts(0)
    ResumableState({"model": model}, recorded(1.0)).save(path)
    read: dict[str, nn.Module | torch.optim.Optimizer] = {"model": model}
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "html":
        path.write_text("<html></html>")
    elif kind == "other model":
        read = {"model": nn.Linear(2, 2)}
    elif kind == "missing part":
        read["optimizer"] = optimizer
    else:
        torch.save({"model": _Malicious(), "progress": {}}, path)
    with pytest.raises(InputError, match=r"state: damaged training state; delete it") as caught:
        ResumableState(read).restore(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_check_finite_names_term_step_and_remedy(value):
    terms = {"kl": torch.tensor(1.0), "orthogonality": torch.tensor(value)}
    with pytest.raises(InputError, match=rf"^orthogonality: .*{value} at step 7;.*\(0\.01\)"):
        check_finite(terms, 7, 0.01)
    check_finite({"kl": torch.tensor(1e30)}, 7, 0.01)
