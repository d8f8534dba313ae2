"""``fewshot reproduce``: a published study again, whole or in part, beside what is on file."""

import json
import re
import shutil

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.commands import published as published_module
from guided.storage.files import read_json, write_arrays, write_json
from tests.faults.subjects import CONFIGS

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(finished, tmp_path):
    """The tiny study, published as ``tiny``, for a test to change."""
    path = tmp_path / "published"
    path.mkdir()
    shutil.copy(finished.folder / "results.json", path / "tiny.json")
    shutil.copy(finished.folder / "episodes.npz", path / "tiny.npz")
    return path


@pytest.fixture
def reproduce(folder, capsys, tmp_path):
    """Run the command; returns the status and what is printed."""

    def run(*arguments, output=tmp_path / "again"):
        where = ["--published", str(folder), *(["--output", str(output)] if output else [])]
        status = main(["reproduce", *map(str, arguments), *where])
        printed = capsys.readouterr()
        return status, " ".join(printed.out.split()) + printed.err

    return run


def changed(file, key, change):
    """Change a row's counts, and its error so that they agree again."""
    content = read_json(file)
    with np.load(file.with_suffix(".npz")) as stored:
        arrays = {name: stored[name] for name in stored}
    name = "|".join(["wrong", *key])
    arrays[name] = change(arrays[name])
    for row in content["rows"]:
        if (row["arm"], row["learner"], row["latents"], f"{row['n_way']}w{row['n_shot']}s") == key:
            most = row["n_way"] * row["n_query"]
            row["error"] = round(100 * float(arrays[name].mean()) / most, 4)
    write_arrays(file.with_suffix(".npz"), arrays)
    write_json(file, content)


def one_more(counts):
    """The same counts but for one episode of the second seed."""
    more = counts.copy()
    more[1, 3] = more[1, 3] - 1 if more[1, 3] else 1
    return more


GUIDED = ("guided", "prototypical", "class", "3w1s")


def test_a_study_is_run_again_and_one_changed_count_is_found(folder, reproduce, tmp_path):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    status, printed = reproduce("tiny")
    assert status == 0, printed
    assert "tiny: fewshot compare, 4 × 2 arms × seeds; the study took" in printed
    assert "all 20 rows are the published ones to the bit, on this kind of machine" in printed
    found = read_json(tmp_path / "again" / "reproduction.json")
    assert found["problems"] == found["other_kind"] == []
    assert {row["verdict"] for row in found["rows"]} == {"same"}
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    changed(folder / "tiny.json", GUIDED, one_more)
    status, printed = reproduce("tiny")
    assert status == 1
    assert "finished before" in printed, "nothing is computed twice"
    assert "guided, prototypical, class, 3w1s" in printed
    assert "1 of 20 rows do not agree with what is on file, on this kind of machine" in printed
    found = read_json(tmp_path / "again" / "reproduction.json")
    assert found["problems"] == ["guided, prototypical, class, 3w1s"]
    (row,) = (row for row in found["rows"] if not row["agrees"])
    assert (row["differ"], row["units"]) == (1, 40)

    # On another kind of machine it is within what a training anew may change; zeros are not.
    content = read_json(folder / "tiny.json")
    content["hardware"]["processor"] = "an abacus"
    write_json(folder / "tiny.json", content)
    status, printed = reproduce("tiny")
    assert status == 0
    assert (
        "all 20 rows agree with what is on file, on another kind of machine (processor" in printed
    )
    assert "19 to the bit, 1 within their interval" in printed
    changed(folder / "tiny.json", ("pixels", "prototypical", "all", "3w1s"), np.zeros_like)
    status, printed = reproduce("tiny")
    assert status == 1
    assert re.search(r"pixels, prototypical, 3w1s 0\.000 \d\S* outside", printed)


def test_cells_of_an_earlier_revision_are_told(folder, reproduce, finished, tmp_path):
    run = tmp_path / "again"
    shutil.copytree(finished.folder / "cells", run / "cells")
    (marker,) = run.glob("cells/encoder-vae-seed1-*/cell.json")
    write_json(marker, read_json(marker) | {"revisions": ["0123456789ab"]})
    status, printed = reproduce("tiny")
    assert status == 0
    assert "to the bit, on this kind of machine; of the cells, some were there before, c" in printed
    assert "computed by revision 0123456789ab" in printed
    assert "0123456789ab" in read_json(run / "reproduction.json")["revisions"]


def test_one_of_several_machines_is_enough_for_another_kind(folder, reproduce):
    """A joined study keeps the facts of its first run; seeds of others have other bits."""
    changed(folder / "tiny.json", GUIDED, one_more)
    content = read_json(folder / "tiny.json")
    here = {name: content[name] for name in ("versions", "hardware")}
    there = here | {"hardware": here["hardware"] | {"processor": "an abacus"}}
    content["joined"] = [{"seeds": [0], **here}, {"seeds": [1], **there}]
    write_json(folder / "tiny.json", content)
    status, printed = reproduce("tiny")
    assert status == 0
    assert "on another kind of machine (processor" in printed


def test_rows_that_the_configuration_does_not_make_are_told(folder, reproduce, fails, tmp_path):
    content = read_json(folder / "tiny.json")
    invented = content["rows"][0] | {"arm": "invented"}
    write_json(folder / "tiny.json", content | {"rows": [*content["rows"], invented]})
    again = "--output", str(tmp_path / "again")
    line = fails("reproduce", "tiny", "--published", str(folder), *again, writes=True)
    assert "its rows are not those of its configuration: invented|prototypical|all|3w1s" in line
    status, printed = reproduce("--check", "tiny", "--cells", "1")
    assert status == 0
    assert "not drawn, because its configuration makes none here: invented|prototypical" in printed


def test_a_check_trains_only_what_its_cells_need(folder, reproduce, tmp_path, capsys):
    status, printed = reproduce("--check", "tiny", "--cells", "2", "--seed", "3")
    assert status == 0, printed
    assert "all 2 cells are the published ones to the bit" in printed
    found = read_json(tmp_path / "again" / "check.json")
    rows = read_json(folder / "tiny.json")["rows"]
    needed = set()
    for row in found["rows"]:
        (arm, learner, latents, _), (seed,) = row["key"], row["seeds"]
        needed |= {f"encoder-{arm}-seed{seed}", f"wrong-{arm}-seed{seed}-{latents}-{learner}"}
        if learner == "trained" and arm != "pixels":
            needed.add(f"train-{arm}-seed{seed}-{latents}-{learner}")
    cells = {path.name.rpartition("-")[0] for path in (tmp_path / "again" / "cells").iterdir()}
    assert cells == needed
    trainings = [name for name in cells if name.startswith("train") or "wrong" not in name]
    trainings = [name for name in trainings if "-pixels-" not in name and "-random-" not in name]
    assert f"2 of {2 * len(rows)} cells; {len(trainings)} of 12 trainings" in printed
    assert not (tmp_path / "again" / "results.json").exists()
    # The name may stand before; the same draw finds its cells, another computes others.
    status, printed = reproduce("tiny", "--check", "--cells", "2", "--seed", "3")
    assert status == 0
    assert "; 0 of" in printed
    for key in [tuple(row["key"]) for row in found["rows"]]:
        changed(folder / "tiny.json", key, lambda counts: np.roll(counts, 1, axis=1))
    status, printed = reproduce("--check", "tiny", "--cells", "2", "--seed", "3", "--json")
    assert status == 1
    assert len(json.loads(printed[: printed.rindex("}") + 1])["problems"]) >= 1


def test_a_run_folder_of_ones_own_and_another_command(tmp_path, write, capsys):
    """Every cell of a study of nonlinear ICA; its results lie in their run folder."""
    run = tmp_path / "run"
    assert main(["nica", write(CONFIGS["nica"]), "--output", str(run)]) == 0
    again = ["--output", str(tmp_path / "again")]
    assert main(["reproduce", "--check", str(run), "--cells", "99", *again]) == 0
    assert "all 30 cells are the published ones to the bit" in capsys.readouterr().out
    assert main(["reproduce", str(run / "results.json"), *again]) == 0
    assert "all 30 rows are the published ones to the bit" in capsys.readouterr().out
    content = read_json(run / "results.json")
    content["scores"][0]["mcc"] += 0.1
    write_json(run / "results.json", content)
    assert main(["reproduce", str(run), *again]) == 1
    assert "1 of 30 rows do not agree" in capsys.readouterr().out


def test_the_list_fits_the_terminal_and_says_why_some_are_not_run(folder, reproduce, monkeypatch):
    content = read_json(folder / "tiny.json")
    write_json(folder / "older.json", content | {"config": content["config"] | {"resamples": 9}})
    write_json(folder / "cover.json", {"coverage": [], "config": {"simulations": 9}})
    (folder / "broken.json").write_text("{")
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "tiny.npz").unlink()
    status, printed = reproduce(output=None)
    assert status == 0
    assert re.search(r"tiny compare 4 × 2 \d+ –", printed)
    assert "older resamples: no such key" in printed
    assert "broken: " in printed
    assert "cover: no study; made by `python benchmarks/coverage.py`" in printed
    assert main(["reproduce"]) == 0, "the published studies of this checkout"


REFUSED = {
    "config": "holds no configuration to run again",
    "key": "configuration of another version (pretrain.stepz: no such key",
    "counts": "its row has the error",
    "select": "run `fewshot select runs/a runs/b` where these are",
    "faults": "no study; made by `python -m tests.faults`",
    "other": "not the result of a finished run",
    "list": "not the result of a finished run",
    "rows": "expected counts of 1 seeds and 20 episodes, runs or images, got 2 and 20",
    "costs": "not as a finished run leaves it",
    "kept": "were not kept, so that no single cell can be compared; run `fewshot reproduce kept`",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_again_is_told_in_one_line(folder, fails, name):
    content = read_json(folder / "tiny.json")
    config = content["config"]
    changes = {
        "config": {"config": None},
        "key": {"config": config | {"pretrain": config["pretrain"] | {"stepz": 3}}},
        "costs": {"costs": [3]},
        "rows": {"rows": [content["rows"][0] | {"seeds": [0]}]},
    }
    file = folder / f"{name}.json"
    other = {
        "select": {"judgements": [], "config": {"runs": ["runs/a", "runs/b"]}},
        "faults": {"in_time": 3},
        "other": {"something": 1},
        "list": [1, 2],
    }
    write_json(file, other.get(name, content | changes.get(name, {})))
    if name in ("counts", "rows", "costs"):
        shutil.copy(folder / "tiny.npz", file.with_suffix(".npz"))
    if name == "counts":
        content["rows"][0]["error"] += 1
        write_json(file, content)
    line = fails("reproduce", "--check", str(file))
    assert str(file) in line
    assert REFUSED[name] in line


def test_a_folder_of_the_same_name_hides_no_study(folder, tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert published_module.find("tiny", folder).file == folder / "tiny.json"


def test_names_that_are_no_study(folder, fails, monkeypatch, tmp_path):
    where = ("--published", str(folder))
    assert "called 'tinny'; did you mean tiny?" in fails("reproduce", "tinny", *where)
    assert "`fewshot reproduce` lists them" in fails("reproduce", "zzz", *where)
    assert "name: no/such.json not found" in fails("reproduce", "no/such.json", *where)
    assert "published: nowhere not found" in fails("reproduce", "--published", "nowhere")
    assert "give one name" in fails("reproduce", "tiny", "--check", "tiny", *where)
    assert "--check NAME alone" in fails("reproduce", "tiny", "--cells", "2", *where)
    own = ("--output", str(folder))
    assert "holds the results to compare with" in fails("reproduce", "tiny", *where, *own)
    # Installed without its checkout.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published_module.fewshot, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    for arguments in ([], ["tiny"]):
        line = fails("reproduce", *arguments)
        assert "published studies come with a checkout, in runs/published" in line
        assert "give the path of a file of results" in line
