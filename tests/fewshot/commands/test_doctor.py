"""``fewshot doctor``: facts, checks, and a status that says whether all is in order."""

import json

import pytest

from fewshot import health
from fewshot.cli import main

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_installation(capsys, elsewhere, shared_cache):
    assert main(["doctor", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert set(found["checks"].values()) == {"passed"}
    assert found["versions"]["torch"]
    assert found["cache"]["folder"] == str(shared_cache)
    assert found["cache"]["banks"] > 0
    assert found["data"]["Glyphs"].endswith("images")
    assert found["hardware"]["usable_cores"] >= 1
    assert list(elsewhere.iterdir()) == []


def test_what_is_wrong_is_said(capsys, monkeypatch, elsewhere):
    monkeypatch.setattr(health, "PIXELS", 12.0)
    (elsewhere / "runs").write_text("")
    monkeypatch.setenv("FEWSHOT_CACHE", str(elsewhere / "runs" / "cache"))
    assert main(["doctor", "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    wrong = [line for line in printed.splitlines() if line.startswith("wrong: ")]
    assert len(wrong) == 3
    assert "runs" in wrong[0]
    monkeypatch.delenv("FEWSHOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
    assert "expected 12.0" in health._numbers("cpu")


def test_a_device_that_is_not_there(fails):
    assert "device" in fails("doctor", "--device", "tpu")
