"""Lake's task: his archive, runs drawn like his, errors and their intervals."""

import io
import os
import re
import shutil
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from fewshot.data import ImageBank
from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.study import ArmConfig, LearnerConfig, Published, StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.figures import RIGHT, WRONG
from fewshot.study.lake.classify import Classified, predicted_classes
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.report import PUBLISHED, LakeResult, binomial_ci95, lake_rows, score_runs
from fewshot.study.lake.runs import draw_runs, find_archive, read_runs
from fewshot.study.lake.tables import FEW_TRIALS, lake_table
from fewshot.study.rows import Key
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import generator

# Lake's archive.


@pytest.fixture(scope="module")
def runs(lake_folder):
    return read_runs(lake_folder, 28)


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


# What is counted.


class Chance(Learner):
    """Answers that have nothing to do with the images."""

    def logits(self, episodes):
        shape = (len(episodes), 20, 20)
        return torch.rand(shape, generator=generator(0, "chance", len(episodes)))


def test_who_knows_the_answer_makes_no_error_and_chance_makes_95_percent(runs, monkeypatch):
    pixels = Encoder(Pixels((1, 28, 28)), None)
    oracle = predicted_classes(Prototypical(pixels), runs.episodes)
    assert np.array_equal(oracle, np.tile(np.arange(20), (20, 1)))
    chance = predicted_classes(Chance(pixels), runs.episodes)
    answers = [(("a", 0), oracle), (("b", 0), chance), (("a", 1), oracle), (("b", 1), oracle)]
    wrong = Classified(runs, {Key(*key, "x", "all"): found for key, found in answers}).wrong
    knowing, guessing = (wrong[arm, "x", "all", "20w1s", "own"] for arm in "ab")
    assert knowing.shape == guessing.shape == (2, 20, 20)
    assert not knowing.any()
    assert 100 * guessing[0].mean() == pytest.approx(95, abs=4)
    assert np.array_equal(guessing, [chance != np.arange(20), oracle != np.arange(20)])
    monkeypatch.setattr("fewshot.study.lake.classify.CHUNK_IMAGES", 100)
    assert np.array_equal(predicted_classes(Prototypical(pixels), runs.episodes), oracle)


def test_wilsons_interval_is_scipys():
    for wrong in (0, 1, 20, 133, 400):
        expected = binomtest(wrong, 400).proportion_ci(method="wilson")
        assert binomial_ci95(wrong / 4, 400) == pytest.approx([100 * end for end in expected])


PROTO = LearnerConfig(partial(Prototypical))
REMEMBERED = Published("RCN", {"20w1s within alphabet": 7.3})


ARMS = {"vae": ArmConfig(), "guided": ArmConfig()}
ZERO = np.uint8(0)


def counted(n_seeds, n_runs=30, source="drawn"):
    """A third of the guided arm's answers are wrong, half of the VAE's; some runs are harder."""
    rng = np.random.default_rng(0)
    harder = rng.normal(0, 0.1, (n_seeds, 1, 1)) + rng.normal(0, 0.15, (n_runs, 1))
    wrong = {
        (arm, "proto", "all", "20w1s", source): (rng.random((n_seeds, n_runs, 20)) < share + harder)
        + ZERO
        for arm, share in (("vae", 0.5), ("guided", 0.33))
    }
    study = StudyConfig("s", lambda _: None, ARMS, {"proto": PROTO}, seeds=list(range(n_seeds)))
    return Counts(wrong), lake_rows(study, Counts(wrong))


def test_rows_have_crossed_intervals_over_trials_and_over_runs(crossed_interval):
    counts, rows = counted(3)
    errors = [100.0 * counts.wrong[row.key] for row in rows]
    for row, values in zip(rows, errors, strict=True):
        assert (row.runs, row.trials, row.seeds) == (30, 600, (0, 1, 2))
        assert row.setting == (20, 1, 1)
        assert row.error == pytest.approx(values.mean(), abs=1e-4)
        assert row.error_by_seed == pytest.approx(values.mean((1, 2)), abs=1e-4)
        assert row.error_ci95 == pytest.approx(crossed_interval(values.reshape(3, 600)), abs=1e-4)
        assert row.error_ci95_runs == pytest.approx(crossed_interval(values.mean(2)), abs=1e-4)
        assert row.error_ci95 != row.error_ci95_runs
    vae, guided = rows
    assert vae.pairs == ()
    (pair,) = guided.pairs
    differences = (errors[1] - errors[0]).reshape(3, 600)
    assert (pair.by, pair.partner) == ("arm", "vae")
    assert pair.difference == pytest.approx(differences.mean(), abs=1e-4)
    assert pair.ci95 == pytest.approx(crossed_interval(differences), abs=1e-4)
    assert pair.ci95_new_classes is None


def test_one_seed_has_wilsons_interval_of_its_trials():
    counts, (row, _) = counted(1, n_runs=20)
    wrong = int(counts.wrong[row.key].sum())
    assert row.error_ci95 == pytest.approx(binomial_ci95(100 * wrong / 400, 400), abs=1e-4)
    known = (np.arange(400) < 13).reshape(1, 20, 20) + ZERO
    (row,) = score_runs([row], Counts({row.key: known}))
    assert (row.error, row.error_by_seed) == (3.25, (3.25,))
    assert row.error_ci95 == pytest.approx((1.909, 5.480), abs=1e-3)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_rows_are_scored_again_from_the_file(tmp_path, n_seeds):
    counts, rows = counted(n_seeds)
    counts.save(tmp_path / "lake.npz")
    blank = {"error_ci95": None, "error_ci95_runs": None, "error_by_seed": ()}
    unscored = tuple(replace(row, error=99.0, **blank) for row in rows)
    LakeResult(study="s", rows=unscored, output=tmp_path).save()
    for source in (tmp_path, tmp_path / "lake.json"):
        found = LakeResult.load(source).rescored(LakeResult.load_counts(source))
        assert list(found.rows) == rows


def test_the_table_and_the_figure_show_both_kinds_of_runs():
    counts, drawn = counted(3)
    own_counts, _ = counted(3, 20, "own")
    study = StudyConfig("s", lambda _: None, ARMS, {"proto": PROTO})
    rows = lake_rows(study, Counts(own_counts.wrong | counts.wrong))
    assert [row.source for row in rows] == ["own", "own", "drawn", "drawn"]
    for row, alone in zip(rows[2:], drawn, strict=True):
        assert (row.error, row.error_ci95) == (alone.error, alone.error_ci95)
    own, guided = rows[1], rows[3]
    (low, high), (start, end) = own.error_ci95, guided.error_ci95
    table = lake_table(rows, [*PUBLISHED, REMEMBERED])
    assert (
        f"| guided, proto | {own.error:.2f} | {low:.2f} … {high:.2f} "
        f"| {guided.error:.2f} | {start:.2f} … {end:.2f} |"
    ) in table
    assert "| people (Lake et al. 2015) | 4.5 | " in table
    assert "| guided | all | proto | own | vae |" in table, "paired differences of either kind"
    assert "2 comparisons" in table
    assert "RCN" not in table, "remembered figures are not shown"
    assert "own: Lake's own runs, 20 runs, 400 trials" in table
    assert "drawn: runs drawn like Lake's from the evaluation characters; not his, 30 ru" in table
    assert "(Wilson's, for errors)" not in table
    assert "(Wilson's, for errors)" in lake_table(counted(1)[1], PUBLISHED)
    assert f"| guided, proto | – | – | {guided.error:.2f} |" in lake_table(drawn, PUBLISHED)
    figure = lake_figure(rows, [*PUBLISHED, REMEMBERED])
    axes = figure.axes[0]
    assert "Lake's own runs: 400 trials" in figure.get_suptitle()
    assert "600 trials, pale" in figure.get_suptitle()
    assert [bar.get_height() for bar in axes.patches] == [row.error for row in rows]
    bars = [lines.get_segments() for lines in axes.collections]
    intervals = [segment[:, 1].tolist() for segments in bars for segment in segments]
    assert np.allclose(intervals, [row.error_ci95 for row in rows])
    levels = {line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"}
    assert levels == {3.3, 4.5, 13.5, 38.8}, "remembered figures are not shown"


def test_the_report_says_what_400_trials_can_tell():
    low, high = binomial_ci95(4.5, 400)
    assert f"{low:.1f} … {high:.1f}" in FEW_TRIALS


def test_files_of_earlier_versions_name_whose_runs_they_are_once():
    _, rows = counted(3)
    plain = [{k: v for k, v in row.to_json().items() if k != "source"} for row in rows]
    for name, source in (("drawn", "drawn"), ("all_runs.zip", "own")):
        result = LakeResult.from_json({"study": "s", "rows": plain, "seconds": 1, "source": name})
        assert {row.source for row in result.rows} == {source}


def test_the_contact_sheet_marks_what_is_wrong(runs):
    predicted = np.tile(np.arange(20), (20, 1))
    predicted[4, [2, 7]] = [7, 19]
    axes = run_figure(runs, predicted, "mine", 4).axes[0]
    assert "mine: 2 of 20 wrong" in axes.get_title()
    labels = axes.get_xticklabels()
    assert [label.get_color() for label in labels] == [
        WRONG if i in (2, 7) else RIGHT for i in range(20)
    ]
    answers = {2: "✗ 8", 7: "✗ 20"}
    assert [label.get_text() for label in labels] == [answers.get(i, str(i + 1)) for i in range(20)]
    sheet = axes.images[0].get_array().reshape(3, 31, 20, 31).transpose(0, 2, 1, 3)[..., :28, :28]
    assert np.array_equal(sheet[0], runs.episodes.support[4, :, 0, 0])
    assert np.array_equal(sheet[1], runs.episodes.query[4, :, 0, 0])
    assert np.array_equal(sheet[2, 7], runs.episodes.support[4, 19, 0, 0])
