"""A learner in a file outside the package is trained, saved, restored, evaluated and studied."""

import functools
import importlib
import json
import sys

import pytest
import torch

import fewshot
from fewshot.cli import main
from fewshot.commands.evaluate import EvaluateCommand
from fewshot.config import describe, load
from fewshot.learners import Prototypical
from guided.errors import InputError

OWN = '''
import torch
from torch import nn

from fewshot import Learner
from guided import Encoder


class Manhattan(Learner):
    """Scores a class by the scaled L1 distance of a query to its mean embedding."""

    def __init__(self, encoder: Encoder, *, scale: float = 1.0, **settings):
        super().__init__(encoder, **settings)
        self.scale = nn.Parameter(torch.tensor(scale))

    def logits(self, episodes):
        embedded = self.embed(episodes)
        return -self.scale * torch.cdist(embedded.query.flatten(1, 2), embedded.support.mean(2), 1)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("mine").Manhattan
    del sys.modules["mine"]


def test_trained_saved_restored_and_evaluated(own, encoder, make_bank, tmp_path):
    bank = make_bank(14, noise=60.0)
    train, validation = bank.classes(range(8)), bank.classes(range(8, 14))
    settings = {"setting": fewshot.Setting(5, 1, 3), "steps": 30, "learning_rate": 0.01}
    factory = functools.partial(own, scale=0.1)
    trained = fewshot.train(factory, encoder, train, validation, **settings)
    assert trained.learner.scale != 0.1
    before, after = (
        fewshot.evaluate(learner, validation, n_query=5, episodes=200)
        for learner in (factory(encoder), trained.learner)
    )
    assert after.error < before.error
    trained.learner.save(tmp_path / "learner.safetensors")
    restored = own(trained.encoder).restore(tmp_path / "learner.safetensors")
    again = fewshot.evaluate(restored, validation, n_query=5, episodes=200)
    assert torch.equal(again.errors, after.errors)
    with pytest.raises(InputError, match=r"weights of mine\.Manhattan, expected those of Prototyp"):
        Prototypical(encoder).restore(tmp_path / "learner.safetensors")


@pytest.mark.usefixtures("cache", "own")
def test_a_study_names_it_by_import_path(study, write, tmp_path):
    choice = {"class_path": "mine.Manhattan", "init_args": {"scale": 0.5}}
    study["learners"] = {"own": {"learner": choice}}
    study["arms"] = {"vae": {"encoder": "random"}}
    study["seeds"] = [0]
    output = tmp_path / "run"
    assert main(["compare", write(study), "--output", str(output)]) == 0
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert {row["learner"] for row in rows} == {"own"}
    assert all(0 < row["error"] < 100 for row in rows)


def test_an_edited_class_is_another(own, tmp_path):
    before = describe(functools.partial(own, scale=0.1))
    (tmp_path / "mine.py").write_text("from __future__ import annotations\n" + OWN)
    del sys.modules["mine"]
    edited = importlib.import_module("mine").Manhattan
    after = describe(functools.partial(edited, scale=0.1))
    assert after["source"] != before["source"]
    assert {**after, "source": None} == {**before, "source": None}
    # Annotations as text are read like others.
    choice = {"class_path": "mine.Manhattan", "init_args": {"scale": 2}}
    config = load(EvaluateCommand, {"dataset": "Glyphs", "learners": {"a": choice}})
    assert config.learners["a"].keywords == {"scale": 2.0}
