"""A study by one call: the command's numbers, from a file or a configuration."""

import json
import shutil

import pytest

import fewshot
from fewshot.config import load
from guided.errors import InputError


@pytest.fixture
def small(study):
    study["arms"] = {name: study["arms"][name] for name in ("vae", "guided")}
    study["seeds"] = [0]
    return study


@pytest.mark.usefixtures("cache")
def test_a_file_gives_the_commands_rows(finished, tmp_path):
    """In a copy of the command's folder, where nothing is left to compute."""
    shutil.copytree(finished.folder, tmp_path / "run")
    again = fewshot.compare(finished.file, output=tmp_path / "run")
    assert [row.to_json() for row in again.rows] == finished.results["rows"]
    assert again.output == tmp_path / "run"
    assert again.table in finished.printed
    assert all(line in finished.printed for line in again.verdicts)
    assert len(again.to_frame()) == len(again.rows)


@pytest.mark.usefixtures("cache")
def test_a_configuration_and_a_file_are_the_same_study(small, write, tmp_path):
    overrides = {"pretrain.steps": 4, "episodes": 10}
    by_file = fewshot.compare(write(small), output=tmp_path / "a", overrides=overrides)
    config = load(fewshot.StudyConfig, write(small))
    assert config.pretrain.steps != 4
    by_config = fewshot.compare(config, output=tmp_path / "b", overrides=overrides, device="cpu")
    assert by_file.rows == by_config.rows
    assert {row.episodes for row in by_file.rows} == {10}
    encoders = [
        json.loads(p.read_text()) for p in (tmp_path / "a" / "cells").glob("enc*/cell.json")
    ]
    assert {cell["depends"]["pretrain"]["steps"] for cell in encoders} == {4}


def test_mistakes_are_named_before_anything_is_computed(small, write, tmp_path):
    for overrides, message in (
        ({"pretrain.step": 4}, r"^pretrain\.step: no such key; did you mean pretrain\.steps\?"),
        ({"settings": [{"n_way": 90}]}, "n_way: 90 classes asked for, the test set of"),
    ):
        with pytest.raises(InputError, match=message):
            fewshot.compare(write(small), output=tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()
