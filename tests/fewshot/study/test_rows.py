"""Rows in JSON and back: what was published is what the types say."""

import json
from pathlib import Path

import pytest

from fewshot.study import StudyResult
from fewshot.study.lake import LakeResult
from fewshot.study.latents import LatentsResult
from fewshot.study.rows import LakeRow, Measurement, Published, ResultRow
from guided.errors import InputError

FILES = sorted((Path(__file__).parents[3] / "runs" / "published").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_published_files_survive_the_round_trip(file):
    content = json.loads(file.read_text())
    if "rows" not in content:
        entries = content["diagnostics"]
        assert [Measurement.from_json(entry).to_json() for entry in entries] == entries
        return
    row = content["rows"][0]
    kind = LakeResult if "trials" in row else LatentsResult if "fid" in row else StudyResult
    back = json.loads(json.dumps(kind.from_json(content).to_json()))
    added = {"diagnostics": [], "published": [], "seconds_reused": 0.0}
    assert back == added | content


def test_rows_are_identified_by_their_first_columns():
    content = json.loads((FILES[0].parent / "omniglot_compare.json").read_text())
    result = StudyResult.from_json(content)
    columns = ["arm", "learner", "latents", "n_way", "n_shot", "n_query"]
    assert list(result.to_frame().columns[:6]) == columns
    assert len({tuple(map(row.to_json().get, columns)) for row in result.rows}) == len(result.rows)
    assert isinstance(result.rows[0].seeds, tuple)


@pytest.mark.parametrize("kind", [ResultRow, LakeRow])
def test_an_unknown_or_missing_column_is_refused(kind):
    with pytest.raises(TypeError, match="colour"):
        kind.from_json({"colour": "red"})
    with pytest.raises(TypeError, match="missing"):
        kind.from_json({"arm": "vae"})


def test_published_errors_name_settings_of_the_study():
    figures = Published("UMTRA", {"5w1s": 16.2, "5w2s": 1.0})
    with pytest.raises(InputError, match=r"^published\.UMTRA\.errors: '5w2s' is no setting of"):
        figures.check("published.UMTRA", ["5w1s", "5w5s"])


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"results\.json: not the result of a finished run"):
        StudyResult.load(tmp_path)
