"""Checks that commands share."""

import pytest

from fewshot.commands.common import check_ways
from fewshot.episodes import Setting
from guided.errors import InputError


class Counting:
    """A dataset that knows how many classes two of its splits have."""

    name = "counting"

    def class_counts(self):
        return {"train": 20, "test": 5}


def test_more_ways_than_classes():
    check_ways(Counting(), train=[Setting(20)], test=[Setting(5)], validation=[Setting(1000)])
    message = "n_way: 6 classes asked for, the test set of counting has 5"
    with pytest.raises(InputError, match=message):
        check_ways(Counting(), train=[Setting(20)], test=[Setting(5), Setting(6)])
