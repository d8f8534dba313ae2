"""``tools/publish.py``: what a published study consists of, and which runs are refused."""

import shutil
from pathlib import Path

import pytest

from fewshot.cli import main
from fewshot.study.counts import Counts
from guided.errors import InputError
from guided.storage.files import read_json, write_json
from tests.faults.subjects import CONFIGS


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the tiny study's run folder, as from committed code."""
    shutil.copytree(finished.folder, tmp_path / "work" / "run")
    revised(tmp_path / "work" / "run" / "results.json")
    return tmp_path / "work" / "run"


def revised(file, git="0123456789ab", cells=None, **config):
    """State other revisions, and other values of the configuration."""
    content = read_json(file)
    content["versions"]["git"] = git
    content["revisions"] = [cells or git or "unknown"]
    content["config"] |= config
    write_json(file, content)


@pytest.mark.usefixtures("cache")
def test_a_published_study_is_complete_and_runs_again(tool, run, monkeypatch, capsys, read_page):
    """Its page needs no other file; run again where its cells are, it is the same."""
    monkeypatch.chdir(run.parent)
    folder = Path("runs") / "published"
    file = tool.publish(run, "small", ["errors.png"], folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["small.html", "small.json", "small.npz", "small_errors.png"]
    content, before = read_json(file), read_json(run / "results.json")
    assert content["config"] == before["config"] | {"output": None}
    assert content["rows"] == before["rows"]
    wrong = Counts.load(folder / "small.npz").wrong
    assert wrong.keys() == Counts.load(run / "episodes.npz").wrong.keys()
    page = read_page(folder / "small.html")
    assert str(run.parent) not in page.source
    assert "From a checkout:" in page.source and "fewshot reproduce small" in page.source
    assert {"small.json", "small.npz"} <= set(page.links)
    assert any("vae" in alt for alt in page.alts), "pictures of the encoders are inside"
    again = ["--published", str(folder), "--output", str(run)]
    assert main(["reproduce", "small", *again]) == 0
    assert "all 20 rows are the published ones to the bit" in capsys.readouterr().out


def test_a_study_of_another_command_has_its_page(tool, tmp_path, write, read_page):
    run = tmp_path / "nica"
    assert main(["nica", write(CONFIGS["nica"]), "--output", str(run)]) == 0
    revised(run / "results.json")
    tool.publish(run, "sources", folder=tmp_path / "published")
    names = sorted(path.name for path in (tmp_path / "published").iterdir())
    assert names == ["sources.html", "sources.json"]
    page = read_page(tmp_path / "published" / "sources.html")
    assert len(page.loaded) == 2, "an empty icon and the figure"
    assert all(link.startswith("#") for link in page.links)


def test_sentences_do_not_name_the_folders_of_the_machine(tool, run, tmp_path, monkeypatch):
    revised(run / "results.json", "0123")
    content = read_json(run / "results.json")
    content["noticed"] = [f"{tmp_path}/data/glyphs: 1 image is in two splits"]
    write_json(run / "results.json", content)
    with pytest.raises(InputError, match=r"noticed names a folder of this machine .* FEWSHOT_DATA"):
        tool.publish(run, "small", folder=tmp_path / "published")
    monkeypatch.setenv("FEWSHOT_DATA", f"elsewhere:{tmp_path / 'data'}")
    tool.publish(run, "small", folder=tmp_path / "published")
    published = read_json(tmp_path / "published" / "small.json")
    assert published["noticed"] == ["glyphs: 1 image is in two splits"]


@pytest.mark.parametrize(
    ("git", "config", "message"),
    [
        ("0123-dirty", {}, r"made by revision 0123-dirty, at least in part; run it in a new fol"),
        ("0123", {"cells": "0122-dirty"}, r"made by revision 0122-dirty, at least in part"),
        (None, {}, "made by code of unknown revision, at least in part; run it in a new folder"),
        ("0123", {"ray": "../mine"}, r"config\.ray: \.\./mine is outside"),
        ("0123", {"ray": "/elsewhere/mine"}, r"config\.ray: /elsewhere/mine is outside"),
        ("0123", {"stepz": 3}, r"configuration of another version \(stepz: no such key"),
    ],
)
def test_what_nobody_else_could_run_is_refused(tool, run, tmp_path, git, config, message):
    revised(run / "results.json", git, **config)
    with pytest.raises(InputError, match=message):
        tool.publish(run, "small", folder=tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_a_refused_page_leaves_what_is_published(tool, run, tmp_path, monkeypatch):
    folder = tmp_path / "published"
    tool.publish(run, "small", folder=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    revised(run / "results.json", episodes=20, selection_episodes=9)
    monkeypatch.setattr(tool, "LARGEST", 1000)
    with pytest.raises(InputError, match="larger than 1,000 bytes"):
        tool.publish(run, "small", folder=folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_names_and_figures_are_checked(tool, run, tmp_path):
    folder = tmp_path / "published"
    for arguments, message in (
        ((run, "a/b"), "name: expected a name without /"),
        ((run, "small", ["no.png"]), r"figures: .*no\.png not found"),
        ((tmp_path, "small"), "not the result of a finished run"),
    ):
        with pytest.raises(InputError, match=message):
            tool.publish(*arguments, folder=folder)
    assert not folder.exists()
