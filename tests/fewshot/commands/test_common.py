"""What the commands share."""

import json

import pytest
import torch
import yaml

from fewshot.commands.common import check_ways, open_run
from fewshot.episodes import Setting
from guided.errors import InputError


class Counting:
    """A dataset that knows how many classes two of its splits have."""

    name = "counting"

    def class_counts(self):
        return {"train": 20, "test": 5}


def test_ways_up_to_the_number_of_classes_are_possible():
    check_ways(Counting(), train=[Setting(20)], test=[Setting(5), Setting(2)])


def test_what_the_dataset_does_not_know_is_not_refused():
    check_ways(Counting(), validation=[Setting(1000)])


def test_more_ways_than_classes():
    message = "n_way: 6 classes asked for, the test set of counting has 5"
    with pytest.raises(InputError, match=message):
        check_ways(Counting(), train=[Setting(20)], test=[Setting(5), Setting(6)])


def test_run_folder_says_what_was_asked_for_and_where(tmp_path):
    folder = open_run(tmp_path / "a" / "b", Setting(3, 2, 1), "cpu")
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {
        "n_way": 3,
        "n_shot": 2,
        "n_query": 1,
    }
    facts = json.loads((folder / "environment.json").read_text())
    assert facts["hardware"]["threads"] == torch.get_num_threads()
    assert facts["versions"]["torch"]


def test_a_run_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"^output: .*file.* cannot be created"):
            open_run(output, Setting(), "cpu")
