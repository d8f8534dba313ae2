"""``fewshot report --join true``: one study from runs of it with other seeds."""

import shutil

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.study.counts import Counts
from fewshot.study.disentanglement.rows import score_rows
from fewshot.study.joined import all_scores
from guided.errors import InputError
from guided.storage.files import read_json, write_json


@pytest.fixture(scope="module")
def halves(finished, shared_cache, tmp_path_factory):
    """The tiny study's seeds, each in a run of its own, from the cells of the whole study."""
    base = tmp_path_factory.mktemp("halves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        for seed in (0, 1):
            folder = base / f"seed{seed}"
            shutil.copytree(finished.folder / "cells", folder / "cells")
            seeds = ["--seeds", f"[{seed}]", "--output", str(folder)]
            assert main(["compare", str(finished.file), *seeds]) == 0
    return [base / "seed0", base / "seed1"]


def joined(runs, output):
    arguments = ["report", *map(str, runs), "--join", "true", "--output", str(output)]
    assert main(arguments) == 0


def test_seeds_of_two_runs_are_the_study_of_both(finished, halves, tmp_path, capsys, read_page):
    joined(reversed(halves), tmp_path / "whole")
    assert f"2 runs, 2 seeds joined in {tmp_path / 'whole'}" in capsys.readouterr().out
    whole = read_json(tmp_path / "whole" / "results.json")
    for name in ("rows", "classes", "encoders", "published", "warnings"):
        assert whole[name] == finished.results[name], name
    assert whole["config"]["seeds"] == [0, 1]
    assert [run["seeds"] for run in whole["joined"]] == [[0], [1]]

    def measured(content):
        return sorted(content["diagnostics"], key=str)

    assert measured(whole) == measured(finished.results)
    wrong = Counts.load(tmp_path / "whole" / "episodes.npz").wrong
    for key, counts in finished.counts.wrong.items():
        assert np.array_equal(wrong[key], counts)
    page, ours = (read_page(p / "report.html") for p in (tmp_path / "whole", finished.folder))
    assert any("vae" in alt for alt in page.alts), "pictures of the first run's encoders"
    assert [table for table in page.tables if "error" in str(table)] == [
        table for table in ours.tables if "error" in str(table)
    ]


def test_a_joined_study_is_published_with_its_pictures(halves, tmp_path, tool, read_page):
    runs = [shutil.copytree(half, tmp_path / half.name) for half in halves]
    for run in runs:
        changed(run, committed)
    folder = tmp_path / "published"
    tool.publish(runs[0], "small", ["errors.png"], folder, others=runs[1:])
    assert read_json(folder / "small.json")["config"]["seeds"] == [0, 1]
    assert any("vae" in alt for alt in read_page(folder / "small.html").alts)
    assert (folder / "small_errors.png").stat().st_size > 5000
    # Whichever run comes first, none may be from uncommitted code.
    changed(runs[1], lambda content: committed(content, "0123456789ab-dirty"))
    for first, other in (runs, reversed(runs)):
        with pytest.raises(
            InputError, match=r"seed1/results\.json: made by revision 0123456789ab-d"
        ):
            tool.publish(first, "small", folder=folder, others=[other])


def committed(content, git="0123456789ab"):
    content["versions"].update(git=git)
    content["revisions"] = [git]


def changed(run, change):
    content = read_json(run / "results.json")
    change(content)
    write_json(run / "results.json", content)


def redraw(run):
    with np.load(run / "episodes.npz") as stored:
        arrays = {name: stored[name] for name in stored if name != "checksum"}
    arrays["classes|3w1s"][0] = arrays["classes|3w1s"][0, ::-1]
    np.savez(run / "episodes.npz", **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda run: changed(run, lambda c: c["config"].update(episodes=21)),
            "seed1/results.json: episodes is 21, but 20 in ",
        ),
        (
            lambda run: changed(run, lambda c: c["config"]["pretrain"].update(steps=9)),
            "seed1/results.json: pretrain.steps is 9, but 8 in ",
        ),
        (lambda run: changed(run, lambda c: c.update(rows=c["rows"][1:])), "other rows than"),
        (
            lambda run: changed(run, lambda c: [r.update(seeds=[0]) for r in c["rows"]]),
            "seed 0 is in ",
        ),
        (lambda run: changed(run, lambda c: c.pop("config")), "holds no configuration"),
        (
            lambda run: changed(run, lambda c: c.update(format=1)),
            "seed1/results.json: made by a version whose trainings come to other numbers than ",
        ),
        (
            lambda run: changed(run, lambda c: c["images"].update(train="0")),
            "seed1/results.json: made with other images than ",
        ),
        (redraw, "seed1/results.json: 3w1s: other test episodes than "),
    ],
)
def test_runs_of_other_studies_are_refused(halves, tmp_path, fails, change, message):
    shutil.copytree(halves[1], tmp_path / "seed1")
    change(tmp_path / "seed1")
    line = fails("report", str(halves[0]), str(tmp_path / "seed1"), "--join", "true")
    assert message in line


def test_one_run_is_no_join(halves, fails):
    assert "name two run folders" in fails("report", str(halves[0]), "--join", "true")


def test_scores_of_seeds_are_those_of_one_run():
    found = {
        arm: [{"dci": 0.1 * i + at, "sap": 0.2 * i * at} for i in range(3)]
        for arm, at in (("vae", 0.1), ("guided", 0.3))
    }
    partners = {"guided": ["vae"]}
    whole = score_rows(found, partners)
    runs = [
        score_rows({arm: seeds[part] for arm, seeds in found.items()}, partners)
        for part in (slice(0, 2), slice(2, 3))
    ]
    assert all_scores(runs) == whole
