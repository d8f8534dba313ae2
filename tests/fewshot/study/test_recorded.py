"""Run folders of others: names stay where they belong, and any JSON ends in one line."""

import json

import pytest

from fewshot.cli import main
from fewshot.study.cell_index import FILE, CellIndex
from fewshot.study.recorded import plain_name
from fewshot.study.result import read_result
from guided.errors import InputError

NAMES = ["../x", "a/b", "a\\b", "", "..", ". ", "a\n", "\x1b[2J", "a" * 201, 7, None, ["a"]]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"\Astudy: expected a name without / and \\, got .*\Z"):
        plain_name(name, "study")
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"study": name, "rows": [{"arm": "a"}]}))
    with pytest.raises(InputError, match=r"results.json: study: expected a name"):
        read_result(file)
    (tmp_path / "cells").mkdir()
    cell = {"arm": "a", "seed": 0, "cell": name}
    (tmp_path / FILE).write_text(
        json.dumps({"encoders": [cell], "trainings": [], "examples": None})
    )
    with pytest.raises(InputError, match=r"cells.json: cell: expected a name"):
        CellIndex.load(tmp_path)


@pytest.mark.parametrize("name", ["omniglot 5-way", "é_1.2", "..a"])
def test_other_names_stay(name):
    assert plain_name(name, "study") == name


ROW = {"arm": "a", "seeds": [0], "latents": "all", "learner": "x", "n_way": 5, "n_shot": 1}
CONTENTS = [
    [],
    7,
    {"study": "s", "rows": [ROW]},
    {"study": "s", "rows": [{"arm": "a", "trials": 3}]},
    {"study": "s", "rows": [{"arm": "a", "latent_dim": []}]},
    {"study": "s", "rows": {"0": {}}},
    {"study": "s", "scores": [{"a": 1}], "seconds": {}},
    {"command": "compare", "study": "s", "rows": [ROW | {"error": "x", "n_query": {}}]},
    {"command": "evaluate", "config": 7, "settings": [], "rows": None},
    {"command": "train", "config": {}, "settings": {"a": []}},
    {"command": ["pretrain"]},
]


@pytest.mark.parametrize("content", CONTENTS)
def test_any_json_is_told_in_one_line(content, fails, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(content))
    said = fails("report", str(tmp_path))
    assert str(tmp_path / "results.json") in said
    for command in (["select", str(tmp_path)], ["evaluate", "--replay", str(tmp_path), "--row=0"]):
        assert main([*command, "--output", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
