"""``fewshot select``: a finished study's encoders, chosen without labels."""

import contextlib
import io
import json
import shutil
from types import SimpleNamespace

import pytest
from PIL import Image

from fewshot.cli import main
from fewshot.study.select.selection import Selection
from fewshot.study.select.table import correlations_table
from guided.encoder import Encoder
from guided.metrics import udr_scores
from guided.storage.files import read_json

pytestmark = pytest.mark.usefixtures("cache")

QUICK = ("--images", "80", "--votes", "3")  # all training images


def chosen(output, *runs, settings=()):
    """What was written."""
    arguments = [*map(str, runs), *QUICK, *settings, "--output", str(output)]
    assert main(["select", *arguments]) == 0
    return read_json(output / "select.json")


@pytest.fixture(scope="module")
def once(finished, shared_cache, tmp_path_factory):
    """A selection among the study's encoders: ``printed``, ``written``, ``folder``."""
    folder, printed = tmp_path_factory.mktemp("select"), io.StringIO()
    before = sorted(finished.folder.rglob("*"))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        written = chosen(folder, finished.folder)
    assert sorted(finished.folder.rglob("*")) == before
    return SimpleNamespace(printed=printed.getvalue(), written=written, folder=folder)


def test_a_studys_encoders_are_ranked_and_judged(finished, once, read_page):
    printed, written = once.printed, once.written
    tables, _, _ = printed.rpartition("\n\n")  # but for the folder's name
    assert max(map(len, tables.splitlines())) <= 80
    encoders = {entry["name"]: entry for entry in written["encoders"]}
    assert list(encoders) == ["vae 0", "guided 0", "vae 1", "guided 1"]
    assert written["left_out"] == {
        "pixels": "pixels, not pretrained",
        "random": "random, not pretrained",
    }
    for entry in encoders.values():
        assert entry["name"] in printed
        for test, (learner, label, queries) in {
            "prototypical, 3-way 1-shot": ("prototypical", "3w1s", 12),
            "trained, 2-way 3-shot": ("trained", "2w3s", 4),
        }.items():
            wrong = finished.wrong[f"{entry['arm']}|{learner}|all|{label}"][entry["seed"]]
            assert entry["errors"][test] == pytest.approx(100 * wrong.mean() / queries, abs=1e-4)
    first = written["judgements"][0]
    errors = {name: e["errors"][first["outcome"]] for name, e in encoders.items()}
    scores = {name: e["scores"][first["score"]] for name, e in encoders.items()}
    assert first["chosen"] == max(scores, key=scores.get)
    assert first["regret"] == pytest.approx(
        errors[first["chosen"]] - min(errors.values()), abs=1e-3
    )
    judged = {(one["score"], one["outcome"]) for one in written["judgements"]}
    assert {
        ("udr_lasso", "mig"),
        ("elbo", "trained, 2-way 3-shot"),
        ("udr_spearman", "mcc"),
        ("mcc", "trained, 2-way 3-shot"),
    } <= judged
    beside = {entry["name"]: entry for entry in written["references"]}
    assert list(beside) == ["untrained", "pixels", "true factors"]
    for name, arm in (("untrained", "random"), ("pixels", "pixels")):
        wrong = finished.wrong[f"{arm}|prototypical|all|3w1s"]
        error = beside[name]["errors"]["prototypical, 3-way 1-shot"]
        assert error == pytest.approx(100 * wrong.mean() / 12, abs=1e-4)
    for entry in (*encoders.values(), beside["untrained"], beside["true factors"]):
        assert "mig" in entry["factors"] and "udr_lasso" in entry["scores"]
    text = (once.folder / "select.md").read_text()
    assert "| one at random |" in text and "| true factors |" in text
    page = read_page(once.folder / "select.html")
    assert any(row[0] == "one at random" for rows in page.tables for row in rows)
    drawn = list((once.folder / "errors").glob("*.png"))
    assert len(page.alts) == 1 + len(drawn) and len(drawn) >= len(FIGURES)
    files = ["select.png", *(f"errors/{name}.png" for name in FIGURES)]
    for file in files:
        with Image.open(once.folder / file) as figure:
            assert min(figure.size) > 400


FIGURES = ("prototypical_3-way_1-shot", "trained_2-way_3-shot")


def test_the_file_is_the_selection_and_a_page_shows_it(once):
    selection = Selection.from_json(once.written)
    assert json.loads(json.dumps(selection.to_json())) == once.written
    table = correlations_table(selection).markdown()
    for one in once.written["judgements"]:
        if one["outcome"] in selection.tests:
            assert one["correlation"] is None or f"{one['correlation']:+.2f}" in table


def test_a_stopped_selection_goes_on(finished, once, tmp_path):
    """Scores that are there are not made again, and make up the same selection."""
    shutil.copytree(once.folder, tmp_path / "select")
    cells = tmp_path / "select" / "cells"
    kept = {file: file.stat().st_mtime_ns for file in cells.glob("*/cell.json")}
    for kind in ("seen-guided-seed0", "agreement-vae-seed1", "factors-truth"):
        (folder,) = cells.glob(f"{kind}-*")
        del kept[folder / "cell.json"]
        shutil.rmtree(folder)
    written = chosen(tmp_path / "select", finished.folder)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    same = ("encoders", "references", "agreement", "judgements")
    assert [written[key] for key in same] == [once.written[key] for key in same]


def test_the_score_is_udr_of_the_cells_encoders(finished, once):
    """Of all training images: none are drawn."""
    from fewshot.data import Glyphs, data_root

    splits = Glyphs(data_root(None), **finished.config["dataset"]["init_args"]).splits()
    assert once.written["images"] == len(splits.train)
    means, kl = [], []
    for entry in once.written["encoders"]:
        pattern = f"cells/encoder-{entry['arm']}-seed{entry['seed']}-*/encoder.safetensors"
        (file,) = finished.folder.glob(pattern)
        mean, logvar = Encoder.load(file, "all").moments(splits.train.images)
        means.append(mean.detach().numpy())
        kl.append(0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean(0).detach().numpy())
    for relation in ("lasso", "spearman"):
        found = [entry["scores"][f"udr_{relation}"] for entry in once.written["encoders"]]
        assert found == pytest.approx(udr_scores(means, kl, relation=relation), abs=1e-3)


def test_encoders_of_two_runs_are_chosen_from_together(finished, once, tmp_path):
    """The same encoder counts once; scores are the same every time, also those of workers."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    runs, settings = (finished.folder, tmp_path / "copy"), ("--workers", "2")
    written = chosen(tmp_path / "select", *runs, settings=settings)
    assert written["left_out"]["copy/vae"] == "has the encoders of run/vae"
    for found, before in zip(written["encoders"], once.written["encoders"], strict=True):
        assert found["name"] == f"run/{before['name']}"
        assert found["scores"] == before["scores"]
    assert written["agreement"] == once.written["agreement"]


def edited(finished, folder, change):
    """A copy of the run whose results were changed."""
    shutil.copytree(finished.folder, folder)
    content = read_json(folder / "results.json")
    change(content)
    (folder / "results.json").write_text(json.dumps(content))
    return str(folder)


def arms(**chosen):
    def change(content):
        content["config"]["arms"] = chosen
        content["config"]["baseline"] = None

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (arms(pixels={"encoder": "pixels"}), "no pretrained encoder to choose"),
        (arms(vae={}), "only 2 pretrained encoders"),
        (
            lambda content: content["config"].update(seeds=[0, 7]),
            "no finished encoder of vae, seed 7",
        ),
        (lambda content: content.pop("config"), "holds no configuration"),
        (lambda content: content["rows"][0].update(trials=3), "is no comparison"),
    ],
)
def test_runs_without_enough_encoders_are_refused(fails, finished, tmp_path, change, message):
    assert message in fails("select", edited(finished, tmp_path / "changed", change))


def test_runs_that_do_not_compare_are_refused(fails, finished, tmp_path):
    def fewer(content):
        content["config"]["dataset"]["init_args"]["n_drawers"] = 6

    def episodes(content):
        content["config"]["episode_seed"] = 5

    def cosine(content):
        made = {"class_path": "Prototypical", "init_args": {"metric": "cosine"}}
        content["config"]["learners"]["prototypical"]["learner"] = made

    def queries(content):
        content["config"]["settings"][0]["n_query"] += 1

    for name, change in (
        ("its train images", fewer),
        ("its episode_seed differ", episodes),
        ("its learners.prototypical is another", cosine),
        ("its 3-way 1-shot is another", queries),
    ):
        other = edited(finished, tmp_path / name, change)
        assert name in fails("select", str(finished.folder), other)


def test_removed_weights_are_named(fails, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (removed,) = run.glob("cells/encoder-vae-seed1-*/encoder.safetensors")
    removed.unlink()
    line = fails("select", str(run))
    assert f"the weights of vae, seed 1, were removed; remove {removed.parent}/cell.json" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "runs: "),
        (("nowhere",), "nowhere: no such run folder"),
        (("a", "./a"), "a run folder is named twice"),
        (("a", "--votes", "1"), "votes: expected at least 3, got 1"),
    ],
)
def test_bad_arguments_are_refused(fails, arguments, message):
    assert message in fails("select", *arguments)


def test_a_folder_without_results_is_refused(fails, tmp_path):
    assert "not the result of a finished run" in fails("select", str(tmp_path))
