"""The study's figures: what is drawn is what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from fewshot.study import StudyResult
from fewshot.study.curves import budgets_figure, learning_curves_figure
from fewshot.study.figures import RIGHT, WRONG, differences_figure, episode_figure, errors_figure
from fewshot.study.outcome import Answers, LearningCurve


@pytest.fixture(scope="module")
def rows(finished):
    return list(StudyResult.load(finished.folder).rows)


def markers(axes):
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() != "None"]


def bars(axes):
    return [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2]


def in_panel(rows, n_way):
    return [row for row in rows if row.n_way == n_way]


def test_errors_and_differences_are_drawn_with_their_intervals(rows):
    figure, differences = errors_figure("tiny", rows), differences_figure("tiny", rows)
    assert "tiny: error in %, 95 % over seeds and episodes" in figure.get_suptitle()
    assert "error minus vae on the same episodes" in differences.get_suptitle()
    for i, n_way in enumerate((3, 2)):
        panel = in_panel(rows, n_way)
        assert figure.axes[i].get_title().startswith(f"{n_way}-way")
        assert markers(figure.axes[i]) == [row.error for row in panel]
        assert bars(figure.axes[i]) == [row.error_ci95 for row in panel]
        pairs = [row.pair for row in panel if row.arm != "vae"]
        assert markers(differences.axes[i]) == [pair.difference for pair in pairs]
        assert bars(differences.axes[i]) == [pair.ci95 for pair in pairs]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"guided (class) · trained", "vae · prototypical"} < set(labels)
    assert differences_figure("tiny", [row for row in rows if row.arm == "vae"]) is None
    one = errors_figure("tiny", [replace(row, seeds=(0,)) for row in rows])
    assert one.get_suptitle().endswith("95 % over episodes")


def test_a_difference_to_each_partner_is_named(rows):
    guided = next(row for row in rows if row.latents == "class")
    other = replace(guided.pair, partner="pixels", latents="all", difference=-9.0, ci95=(-10, -8))
    figure = differences_figure("tiny", [replace(guided, pairs=(guided.pair, other))])
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    condition = "guided (class) · prototypical"
    assert labels == [f"{condition} − vae (all)", f"{condition} − pixels (all)"]
    assert markers(axes) == [guided.pair.difference, -9.0]
    assert "error minus baseline" in figure.get_suptitle()


def test_errors_and_differences_of_many_sizes_have_logarithmic_axes(rows):
    def differing(row, by, **more):
        pair = replace(row.pair, difference=by, ci95=(by - 0.11, by + 1.0))
        return replace(row, pairs=(pair,), **more)

    rows = [differing(row, -4.0) for row in rows if row.pair]
    figures = errors_figure("tiny", rows), differences_figure("tiny", rows)
    assert [figure.axes[0].get_xscale() for figure in figures] == ["linear", "linear"]
    rows[0] = differing(rows[0], -44.0, error=0.3, error_ci95=(0.2, 0.4))
    rows[1] = differing(rows[1], 0.01)
    rows[2] = replace(rows[2], error=30.0)
    figures = errors_figure("tiny", rows), differences_figure("tiny", rows)
    assert [figure.axes[0].get_xscale() for figure in figures] == ["log", "symlog"]
    for figure in figures:
        for axes in figure.axes:
            low, high = axes.get_xlim()
            ends = [x for bar in bars(axes) for x in bar]
            assert all(low < x < high for x in ends if x > 0 or axes.get_xscale() == "symlog")
    zero = [replace(rows[0], error=0.0), *rows[1:]]
    assert errors_figure("tiny", zero).axes[0].get_xscale() == "linear", "0 has no logarithm"


def test_an_elbo_is_drawn_of_arms_that_were_trained_by_it():
    history = [{"step": step, "score": 9.0, "negative_elbo": 500.0 - step} for step in (1, 2)]
    alone = LearningCurve("contrastive", 0, history, elbo=False)
    both = learning_curves_figure([alone, LearningCurve("vae", 0, history)])
    lines = [[line.get_label() for line in axes.lines] for axes in both.axes]
    assert lines == [["contrastive", "vae"], ["vae"]]
    assert list(both.axes[1].lines[0].get_ydata()) == [499.0, 498.0]
    (score,) = learning_curves_figure([alone]).axes
    assert score.get_ylabel().startswith("score")
    assert learning_curves_figure([]) is None


def test_budgets_are_curves_of_one_group_of_learners(rows):
    assert budgets_figure(rows) is None, "no group has two budgets"
    grouped = [replace(row, learner_group="one", arm_group=row.arm[:6]) for row in rows]
    figure = budgets_figure(grouped)
    axes = figure.axes[1]
    curve = next(line for line in axes.lines if line.get_label() == "vae")
    of_vae = [r for r in in_panel(rows, 3) if r.arm == "vae"]
    assert list(curve.get_xdata()) == [0, 3]
    assert list(curve.get_ydata()) == [r.error for r in sorted(of_vae, key=lambda r: r.learner)]
    assert "guided (class)" in {line.get_label() for line in axes.lines}
    assert len(axes.collections) == len(axes.lines), "a band for each"


@pytest.mark.parametrize(("n_query", "channels"), [(3, 1), (12, 3)])
def test_wrong_queries_are_told_by_colour_line_and_cross(n_query, channels):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4, 2 + n_query, channels, 16, 16), dtype=np.uint8)
    predicted = generator.integers(0, 4, (4, n_query))
    (axes,) = episode_figure(Answers(images[:, :2], images[:, 2:], predicted)).axes
    shown = min(n_query, 8)
    right = predicted[:, :shown] == np.arange(4)[:, None]
    drawn = [(patch.get_edgecolor(), patch.get_linestyle()) for patch in axes.patches]
    expected = (to_rgba(RIGHT), "-"), (to_rgba(WRONG), "--")
    assert drawn == [expected[0] if r else expected[1] for r in right.flat]
    numbers = [text.get_text() for text in axes.texts]
    assert numbers == [f"✗ {n}" for n in predicted[:, :shown][~right]]
    # A query is drawn inside its frame.
    sheet = np.asarray(axes.images[0].get_array())
    x, y = (round(float(n)) + 1 for n in axes.patches[shown + 2].get_xy())
    drawn = sheet[y : y + 16, x : x + 16].reshape(16, 16, channels)
    assert np.array_equal(drawn, images[1, 4].transpose(1, 2, 0))
