"""``fewshot report``: the study's rows, table and figures, from its counts alone."""

import json
import shutil

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.study.result import StudyResult
from guided.storage.files import read_json


@pytest.fixture
def copied(finished, tmp_path):
    """The study's numbers elsewhere, under a name of their own, for a test to change."""
    for name, source in (("mine.json", "results.json"), ("mine.npz", "episodes.npz")):
        shutil.copy(finished.folder / source, tmp_path / name)
    return tmp_path / "mine.json"


@pytest.fixture
def report(tmp_path, capsys):
    def run(source):
        assert main(["report", str(source), "--output", str(tmp_path / "again")]) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("whole_folder", [True, False])
def test_it_writes_what_the_study_wrote(finished, report, tmp_path, read_page, whole_folder):
    file = finished.folder / "results.json"
    before = sorted(finished.folder.rglob("*"))
    printed = report(finished.folder if whole_folder else file)
    assert f"all {len(finished.results['rows'])} rows are those of {file}" in printed
    again = tmp_path / "again"
    for name in ("results.json", "table.md", "episodes.npz", "errors.png"):
        assert (again / name).read_bytes() == (finished.folder / name).read_bytes(), name
    assert (again / "paired_differences.png").stat().st_size > 5000
    assert str(StudyResult.load(again)) in printed
    assert sorted(finished.folder.rglob("*")) == before
    page, ours = read_page(again / "report.html"), read_page(finished.folder / "report.html")
    assert page.tables == ours.tables and page.alts == ours.alts, "links alone differ"


def test_several_comparisons_share_a_page(finished, copied, tmp_path, capsys, read_page, fails):
    output = tmp_path / "both"
    assert main(["report", str(finished.folder), str(copied), "--output", str(output)]) == 0
    assert f"2 studies side by side in {output / 'report.html'}" in capsys.readouterr().out
    assert [path.name for path in output.iterdir()] == ["report.html"]
    page = read_page(output / "report.html")
    assert page.source.count("not at hand") == 3, "a file alone has no cells"
    changed(copied, lambda rows: [row.update(trials=1) for row in rows])
    assert "mine.json is no comparison" in fails("report", str(finished.folder), str(copied))
    assert "named twice" in fails("report", str(copied), str(copied))


def changed(file, change):
    content = read_json(file)
    change(content["rows"])
    file.write_text(json.dumps(content))


def test_rows_that_are_not_those_of_the_counts_are_noticed(finished, report, copied, tmp_path):
    assert f"rows are those of {copied}" in report(copied)
    first, second = finished.results["rows"][:2]
    changed(copied, lambda rows: rows[0].update(error=first["error"] - 1))
    changed(copied, lambda rows: rows[1].update(error_ci95=[0.0, 1.0]))
    n = len(finished.results["rows"])
    assert f"2 of {n} rows differ from those of {copied}" in report(copied)
    found = read_json(tmp_path / "again" / "results.json")["rows"]
    assert found[:2] == [first, second], "what it writes is what the counts give"


def test_a_changed_count_changes_its_row_and_those_paired_with_it(finished, report, copied):
    with np.load(copied.with_suffix(".npz")) as stored:
        arrays = {name: stored[name] for name in stored}
    arrays["wrong|vae|prototypical|all|2w3s"][:] = 4  # all are wrong
    np.savez(copied.with_suffix(".npz"), **arrays)
    paired = [
        row
        for row in finished.results["rows"]
        if (row["learner"], row["n_way"]) == ("prototypical", 2)
    ]
    assert {row["arm"] for row in paired} == {"pixels", "random", "vae", "guided"}
    n = len(finished.results["rows"])
    assert f"{len(paired)} of {n} rows differ" in report(copied)


def without(key):
    def change(file):
        with np.load(file.with_suffix(".npz")) as stored:
            arrays = {name: stored[name] for name in stored if not name.startswith(key)}
        np.savez(file.with_suffix(".npz"), **arrays)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.with_suffix(".npz").unlink(), "mine.npz: missing"),
        (lambda file: file.write_text("{}"), "mine.json: not the result of a finished run"),
        (lambda file: file.write_text('{"study": "s", "rows": []}'), "not the result of a finish"),
        (lambda file: changed(file, lambda rows: rows[0].pop("pairs")), "KeyError('pairs')"),
        (lambda file: changed(file, lambda rows: rows[0].pop("arm_group")), "'arm_group'"),
        (without("wrong"), "mine.npz: holds no counts of wrong answers"),
        (without("wrong|vae|trained"), "no counts of wrong answers for vae|trained|all|3w1s"),
        (
            lambda file: changed(file, lambda rows: rows[1].update(seeds=[0, 1, 2])),
            "expected counts of 3 seeds and 20 episodes",
        ),
    ],
)
def test_unusable_files_are_refused(fails, copied, damage, message):
    damage(copied)
    assert message in fails("report", str(copied))


def test_a_run_without_counts_names_the_file_that_is_missing(fails, finished, tmp_path):
    shutil.copy(finished.folder / "results.json", tmp_path)
    assert "episodes.npz: missing" in fails("report", str(tmp_path / "results.json"))


def test_the_studys_own_folder_is_left_alone(fails, finished):
    before = (finished.folder / "results.json").stat().st_mtime_ns
    line = fails("report", str(finished.folder), "--output", str(finished.folder), writes=True)
    assert "holds a run; name another folder" in line
    assert (finished.folder / "results.json").stat().st_mtime_ns == before
