"""Runs of Lake's task: those of his archive, and runs drawn like his."""

import io
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data import ImageBank
from fewshot.study.lake.runs import draw_runs, find_archive, read_runs
from guided.errors import InputError
from guided.seeds import generator


@pytest.fixture
def copied(lake_folder, tmp_path):
    """The archive's folder, for a test to damage."""
    return shutil.copytree(lake_folder, tmp_path / "all_runs")


def pillows(path_or_file, size):
    image = Image.open(path_or_file).convert("L").resize((size, size), Image.Resampling.LANCZOS)
    return 255 - np.asarray(image)


@pytest.mark.parametrize("size", [28, 105])
def test_images_are_the_archives_in_the_order_of_its_labels(lake_folder, size):
    runs = read_runs(lake_folder, size)
    support, query = runs.episodes.support, runs.episodes.query
    assert support.shape == query.shape == (20, 20, 1, 1, size, size)
    assert (runs.source, runs.title, runs.trials) == ("own", "Lake's own runs", 400)
    assert runs.names == tuple(f"run{i:02}" for i in range(1, 21))
    for r in (0, 11, 19):
        lines = (lake_folder / runs.names[r] / "class_labels.txt").read_text().splitlines()
        test_of = dict(reversed(line.split()) for line in lines)
        for c in range(20):
            training = f"{runs.names[r]}/training/class{c + 1:02}.png"
            for found, file in ((support, training), (query, test_of[training])):
                assert np.array_equal(found[r, c, 0, 0], pillows(lake_folder / file, size))


@pytest.mark.parametrize("below", ["", "all_runs", "copy/all_runs"])
def test_a_zip_is_its_folder(lake_folder, runs, tmp_path, below):
    source = shutil.copytree(lake_folder, tmp_path / "source" / below)
    (tmp_path / "source" / "__MACOSX" / "run01").mkdir(parents=True)
    (tmp_path / "source" / "__MACOSX" / "run01" / "._class_labels.txt").write_bytes(b"\x00")
    archive = Path(shutil.make_archive(str(tmp_path / "all_runs"), "zip", tmp_path / "source"))
    if below:  # where the labels name the folder too
        for run in runs.names:
            labels = source / run / "class_labels.txt"
            labels.write_text(labels.read_text().replace("run", f"{below}/run"))
    for container in (archive, tmp_path / "source"):
        again = read_runs(container, 28)
        assert torch.equal(again.episodes.support, runs.episodes.support)
        assert torch.equal(again.episodes.query, runs.episodes.query)
        assert again.digest == runs.digest


def test_archives_are_found_in_this_order(tmp_path):
    assert find_archive(tmp_path) is None
    for place in ("all_runs", "all_runs.zip", "omniglot/all_runs", "omniglot/all_runs.zip"):
        (tmp_path / place).mkdir(parents=True)
        assert find_archive(tmp_path) == tmp_path / place


LABELS, ITEM = "run07/class_labels.txt", "run07/test/item04.png"
ONE_LINE = b"run07/test/item01.png run07/training/class01.png\n"
# A file, what is replaced in it (all of it) by what (the file goes), the message.
DAMAGES = [
    ("run07/training/class13.png", None, None, "run07/training/class13.png: missing"),
    ("run07/test/item20.png", None, None, "run07/test/item20.png: missing"),
    (LABELS, None, None, f"{LABELS}: missing"),
    (LABELS, None, b"\xff\xfe\x00", f"{LABELS}: cannot be read"),
    (LABELS, None, ONE_LINE, f"{LABELS}: has 1 lines, expected 20"),
    (LABELS, b"item04", b"item21", f"{LABELS}: has the line 'run07/test/item21.png run07/train"),
    (LABELS, b"item04", b"item05", "has the line 'run07/test/item05.png run07/training/class"),
    (LABELS, b"class04.png", b"class05.png", "each named once"),
    (LABELS, b"run07/test/item04.png ", b"", "has the line 'run07/"),
    (ITEM, None, b"<html>", f"{ITEM}: cannot be decoded"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), DAMAGES)
def test_a_damaged_archive_is_refused_in_one_line(copied, name, old, new, message):
    content = (copied / name).read_bytes()
    assert old is None or old in content
    (copied / name).unlink()
    if new is not None:
        (copied / name).write_bytes(content.replace(old, new) if old else new)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_runs(copied, 28)
    assert "\n" not in str(caught.value)


def test_none_or_two_archives(copied):
    shutil.copytree(copied / "run01", copied / "copy" / "run01")
    with pytest.raises(InputError, match=r"has 2 files run01/training/class01\.png"):
        read_runs(copied, 28)
    shutil.rmtree(copied / "copy")
    shutil.rmtree(copied / "run01")
    with pytest.raises(InputError, match=r"has 0 files run01/training/class01\.png"):
        read_runs(copied, 28)


def test_a_damaged_zip(copied, tmp_path):
    (tmp_path / "page.zip").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"page\.zip: not a complete zip archive"):
        read_runs(tmp_path / "page.zip", 28)
    path = Path(shutil.make_archive(str(tmp_path / "damaged"), "zip", copied))
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("run03/class_labels.txt")
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run03/class_labels\.txt: cannot be read"):
        read_runs(path, 28)


def test_the_real_archive_shows_drawings_of_the_evaluation_set():
    """Each run: twenty characters of one alphabet by one drawer, then by another."""
    root = Path(os.environ.get("FEWSHOT_DATA", "data"))
    archive, drawings = find_archive(root), root / "omniglot" / "images_evaluation.zip"
    if archive is None or not drawings.exists():
        pytest.skip(f"no all_runs.zip and images_evaluation.zip in {root / 'omniglot'}")
    runs = read_runs(archive, 105)
    assert (len(runs), runs.trials) == (20, 400)
    files = {}
    with zipfile.ZipFile(drawings) as images:
        for name in (name for name in images.namelist() if name.endswith(".png")):
            ink = ~np.asarray(Image.open(io.BytesIO(images.read(name))))
            files[(255 * ink).astype(np.uint8).tobytes()] = name
    assert len(files) == 13_180
    for training, tests in zip(runs.episodes.support, runs.episodes.query, strict=True):
        shown = [[files[image.numpy().tobytes()] for image in part] for part in (training, tests)]
        characters, drawers = (
            [
                [re.fullmatch(r".*/(.+/.+)/\d+_(\d\d)\.png", name)[i] for name in part]
                for part in shown
            ]
            for i in (1, 2)
        )
        assert characters[0] == characters[1]
        assert len(set(characters[0])) == 20
        assert len({name.split("/")[0] for name in characters[0]}) == 1
        (one,), (other,) = (set(part) for part in drawers)
        assert one != other


# Runs drawn like his.


def labelled_bank(sizes=(20, 5, 23, 31), drawers=4, missing=(), seed=0):
    """Every image says whose it is: its pixels are its alphabet, character and drawer."""
    names = [f"A{a}/character{c:02}" for a, n in enumerate(sizes) for c in range(n)]
    rows = [(a, c, d) for a, n in enumerate(sizes) for c in range(n) for d in range(drawers)]
    marks = torch.tensor([(a, c, d) for a, c, d in rows if (a, d) not in missing])
    marks = marks[torch.randperm(len(marks), generator=generator(seed, "rows"))]
    first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    images = torch.zeros(len(marks), 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, :3] = marks.to(torch.uint8)
    attributes = {"alphabet": marks[:, 0] + 30, "drawer": marks[:, 2]}
    return ImageBank(images, first[marks[:, 0]] + marks[:, 1], tuple(names), attributes)


def marks_of(runs):
    """(alphabet, character, drawer) of support and query, ``[R, 20, 3]`` each."""
    return runs.episodes.support[:, :, 0, 0, 0, :3], runs.episodes.query[:, :, 0, 0, 0, :3]


def test_drawn_runs_follow_the_protocol():
    runs = draw_runs(labelled_bank(), 30, seed=5)
    support, query = marks_of(runs)
    assert (support.shape, runs.source, runs.trials) == ((30, 20, 3), "drawn", 600)
    assert "not his" in runs.title
    for r in range(30):
        (alphabet,) = support[r, :, 0].unique().tolist()
        assert alphabet != 1, "too few characters"
        assert torch.equal(support[r, :, :2], query[r, :, :2]), "the same characters, in order"
        assert len(support[r, :, 1].unique()) == 20
        (one,), (other,) = support[r, :, 2].unique().tolist(), query[r, :, 2].unique().tolist()
        assert one != other
        assert runs.names[r] == f"A{alphabet}, drawers {one + 1} and {other + 1}"
    # Two runs each, every alphabet before one comes again.
    assert torch.equal(support[::2, 0, 0], support[1::2, 0, 0])
    for turn in support[::2, 0, 0].view(5, 3):
        assert sorted(turn.tolist()) == [0, 2, 3]
    assert len({tuple(row.flatten().tolist()) for row in support}) == 30
    assert len(support[:, 0, 1].unique()) > 5, "characters are shuffled"


def test_drawn_runs_depend_on_the_seed_and_their_number_alone():
    bank = labelled_bank()
    few, many = draw_runs(bank, 7, seed=2), draw_runs(bank, 23, seed=2)
    assert few.names == many.names[:7]
    assert torch.equal(few.episodes.support, many.episodes.support[:7])
    assert torch.equal(few.episodes.query, many.episodes.query[:7])
    # The order in which the bank holds its rows is no part of it.
    assert few.digest == draw_runs(labelled_bank(seed=1), 7, seed=2).digest
    assert few.digest != draw_runs(bank, 7, seed=3).digest


def test_only_drawers_of_all_characters_are_drawn():
    support, query = marks_of(draw_runs(labelled_bank(missing={(2, 0), (2, 3)}), 30))
    drawers = torch.stack([support[:, 0, 2], query[:, 0, 2]], 1)[support[:, 0, 0] == 2]
    assert {tuple(pair) for pair in drawers.tolist()} == {(1, 2), (2, 1)}


def test_a_set_that_has_no_runs():
    with pytest.raises(InputError, match="runs: no alphabet of the test set has 20 characters"):
        draw_runs(labelled_bank((19, 5)))
    with pytest.raises(InputError, match="1 drawers drew all 20 characters that were chosen of A0"):
        draw_runs(labelled_bank((20,), drawers=1))
