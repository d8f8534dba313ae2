"""``fewshot data``."""

import os
from pathlib import Path

import pytest

from fewshot.cli import main
from fewshot.config.classes import own_classes
from fewshot.data import Dataset, Omniglot

pytestmark = pytest.mark.usefixtures("cache")


def listed(capsys, *arguments):
    assert main(["data", *arguments]) == 0
    return capsys.readouterr().out


def test_lists_every_dataset(tmp_path, capsys):
    lines = listed(capsys, "--data-root", str(tmp_path)).splitlines()
    assert lines[0] == f"data root: {tmp_path}"
    names = {line.split()[0] for line in lines if "  yes  " in line or "  no  " in line}
    known = {cls.name for cls in own_classes(Dataset).values() if cls.listed}
    assert names == known
    assert "glyphs" in known
    (glyphs,) = (line for line in lines if line.startswith("glyphs"))
    assert glyphs.split()[1:5] == ["yes", "400", "8,000", "generated"]


def test_data_root_comes_from_the_environment_unless_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "nowhere"))
    assert f"data root: {tmp_path / 'nowhere'} (no such folder)\n" in listed(capsys)
    printed = listed(capsys, "--data-root", f"{tmp_path}{os.pathsep}~/elsewhere")
    assert printed.startswith(f"data root: {tmp_path}\ndata root: {Path.home()}/elsewhere (no such")


def test_downloads_by_name(tmp_path, capsys, monkeypatch):
    downloaded = []
    monkeypatch.setattr(Omniglot, "download", lambda self: downloaded.append(self.root))
    listed(capsys, "--download", "omniglot", "--data-root", str(tmp_path))
    assert downloaded == [tmp_path]
    assert main(["data", "--download", "imagenet"]) == 2
    printed = capsys.readouterr()
    assert "download: no dataset is called 'imagenet'; did you mean mini_im" in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
