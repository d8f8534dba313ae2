"""Lake's task: what is counted, errors and their intervals."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.study import ArmConfig, LearnerConfig, Published, StudyConfig
from fewshot.study.counts import Counts
from fewshot.study.figures import RIGHT, WRONG
from fewshot.study.lake.classify import Classified, predicted_classes
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.report import PUBLISHED, LakeResult, binomial_ci95, lake_rows, score_runs
from fewshot.study.lake.tables import FEW_TRIALS, lake_table
from fewshot.study.rows import Key
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.seeds import generator


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
