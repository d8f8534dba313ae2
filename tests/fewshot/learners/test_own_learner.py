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
    with pytest.raises(InputError, match=r"weights of mine\.Manhattan, expected those of fewshot"):
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


EMBEDS = """

class Prototypical(Ours):
    def embedding(self, images):
        return super().embedding(images).flip(1)[:, :3]
"""


@pytest.fixture
def namesake(tmp_path, monkeypatch):
    """A learner called like one of ours that embeds images in a way of its own."""
    (tmp_path / "mine.py").write_text(
        "from fewshot.learners import Prototypical as Ours\n" + EMBEDS
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    del sys.modules["mine"]


@pytest.mark.usefixtures("cache", "namesake")
def test_a_namesake_has_numbers_of_its_own(study, write, tmp_path):
    """Beside ours, and in the place of ours in the same folder, also where embeddings are kept."""
    ours, mine = ({"class_path": name} for name in ("Prototypical", "mine.Prototypical"))
    study |= {"arms": {"vae": {"encoder": "random"}}, "seeds": [0], "episodes": 40}
    test = {key: study[key] for key in ("dataset", "settings", "episodes")}

    def errors(command, output, learners, config):
        if command == "compare":
            learners = {name: {"learner": learner} for name, learner in learners.items()}
        arguments = ["--output", str(tmp_path / output)]
        assert main([command, write(config | {"learners": learners}), *arguments]) == 0
        rows = json.loads((tmp_path / output / "results.json").read_text())["rows"]
        return {row["learner"]: row["error"] for row in rows}

    for command, config in (("compare", study), ("evaluate", test)):
        expected = errors(command, f"{command} alone", {"x": mine}, config)["x"]
        beside = errors(command, command, {"a": ours, "x": mine}, config)
        assert beside["x"] == expected != beside["a"]
        assert errors(command, command, {"x": ours}, config)["x"] == beside["a"]
        written = (tmp_path / command / "config.yaml").read_text()
        assert "class_path: fewshot.learners.Prototypical" in written
        assert errors(command, command, {"x": mine}, config)["x"] == expected
