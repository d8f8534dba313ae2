"""Damage to the files of a run: nothing of it reaches a number."""

import shutil

import numpy as np
import pytest

from fewshot.cli import main
from fewshot.study.counts import Counts
from guided.storage.files import read_json

pytestmark = pytest.mark.usefixtures("cache")


def flip(path, where=0.6):
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)


DAMAGES = [
    flip,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-100]),
    lambda path: path.unlink(),
]


def one_of_each(folder):
    """A cell's file of every kind, each of another cell where there are several."""
    used, found = set(), {}
    for path in sorted(folder.glob("cells/*/*")):
        kind = path.parent.name.partition("-")[0], path.name
        if path.is_file() and kind not in found and path.parent not in used:
            found[kind] = path
            used.add(path.parent)
    return list(found.values())


def test_a_damaged_run_is_computed_again_to_the_digit(finished, tmp_path, capsys):
    """Every kind of file at once, also a state of a training that was interrupted."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    begun = next(folder.glob("cells/encoder-guided-seed1-*"))
    (begun / "cell.json").unlink()
    (begun / "state.pt").write_bytes(b"PK\3\4 cut off")
    damaged = [path for path in one_of_each(folder) if path.parent != begun]
    for number, path in enumerate(damaged):
        # Removed weights are missed only by what is still to be computed from them.
        kinds = DAMAGES[:3] if path.suffix == ".safetensors" else DAMAGES
        kinds[number % len(kinds)](path)
    # A cell without its mark is unfinished, as far as anyone can tell.
    told = [path for path in damaged if path.exists() or path.name != "cell.json"]
    for name in ("results.json", "episodes.npz"):
        flip(folder / name)
    capsys.readouterr()
    assert main(["compare", str(finished.file), "--output", str(folder)]) == 0
    said = capsys.readouterr()
    assert "results.json, episodes.npz: not as written; made again" in said.out
    lines = said.err.splitlines()
    for path in told:
        said_of = [line for line in lines if line.startswith(f"{path.parent.name}: {path.name} is")]
        assert len(said_of) == 1 and said_of[0].endswith("; computed again"), path
    assert f"{begun.name}: state.pt is damaged; its training starts again" in lines
    assert read_json(folder / "results.json")["rows"] == finished.results["rows"]
    counts = Counts.load(folder / "episodes.npz")
    assert counts.wrong.keys() == finished.counts.wrong.keys()
    for key, wrong in finished.counts.wrong.items():
        np.testing.assert_array_equal(counts.wrong[key], wrong)
    for file in finished.folder.glob("cells/*/*.npz"):
        assert (folder / file.relative_to(finished.folder)).read_bytes() == file.read_bytes()
    assert main(["compare", str(finished.file), "--output", str(folder)]) == 0
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["results.json", "episodes.npz", "cells.json"])
@pytest.mark.parametrize("damage", range(3))
def test_a_damaged_file_that_the_user_named_is_one_line(finished, tmp_path, fails, name, damage):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    DAMAGES[damage](folder / name)
    assert f"{folder / name}: damaged" in fails("report", str(folder), writes=name == "cells.json")


@pytest.mark.parametrize("damage", range(3))
def test_damaged_weights_that_the_user_named_are_one_line(
    finished, tmp_path, fails, write, damage, small_configs
):
    config = small_configs["evaluate"] | {"output": str(tmp_path / "must-not-exist")}
    cell = next(finished.folder.glob("cells/encoder-vae-seed0-*"))
    encoder, decoder = (tmp_path / f"{kind}.safetensors" for kind in ("encoder", "decoder"))
    for path in (encoder, decoder):
        shutil.copy(cell / path.name, path)
    inference = {"steps": 1}
    given = ("evaluate", write(config), "--encoder", str(encoder))
    DAMAGES[damage](decoder)
    said = fails(*given, "--test_inference.steps", str(inference["steps"]))
    assert f"{decoder}: damaged" in said
    DAMAGES[damage](encoder)
    assert f"{encoder}: damaged" in fails(*given)
