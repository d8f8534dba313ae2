"""A study by one call: the command's numbers, from a file or a configuration."""

import json
import shutil

import pytest

import fewshot
from fewshot.config import load
from guided.errors import InputError


@pytest.mark.usefixtures("cache")
def test_a_file_gives_the_commands_rows(finished, tmp_path):
    """In a copy of the command's folder, where nothing is left to compute."""
    shutil.copytree(finished.folder, tmp_path / "run")
    again = fewshot.compare(finished.file, output=tmp_path / "run")
    assert [row.to_json() for row in again.rows] == finished.results["rows"]
    assert again.output == tmp_path / "run"
    assert str(again) in finished.printed, "the table and the verdicts"
    assert len(again.to_frame()) == len(again.rows)


@pytest.mark.usefixtures("cache")
def test_a_configuration_and_a_file_are_the_same_study(study, write, tmp_path):
    study |= {"arms": {"vae": {}}, "seeds": [0]}
    overrides = {"pretrain.steps": 4, "episodes": 10}
    by_file = fewshot.compare(write(study), output=tmp_path / "a", overrides=overrides)
    config = load(fewshot.StudyConfig, write(study))
    by_config = fewshot.compare(config, output=tmp_path / "b", overrides=overrides, device="cpu")
    assert by_file.rows == by_config.rows
    assert {row.episodes for row in by_file.rows} == {10}
    (file,) = (tmp_path / "a" / "cells").glob("enc*/cell.json")
    assert (
        json.loads(file.read_text())["depends"]["pretrain"]["steps"] == 4 != config.pretrain.steps
    )
    for changes, message in (
        ({"pretrain.step": 4}, r"^pretrain\.step: no such key; did you mean pretrain\.steps\?"),
        ({"settings": [{"n_way": 90}]}, "n_way: 90 classes asked for, the test set of"),
    ):
        with pytest.raises(InputError, match=message):
            fewshot.compare(config, output=tmp_path / "run", overrides=changes)
    assert not (tmp_path / "run").exists(), "mistakes are named before anything is computed"
