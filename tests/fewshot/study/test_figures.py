"""The study's figures: what is drawn is what was measured."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from fewshot.episodes import Setting
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.study.figures import (
    budgets_figure,
    differences_figure,
    episode_figure,
    errors_figure,
    learning_curves_figure,
)


def markers(axes):
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]


def bars(axes):
    return [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2]


def in_panel(results, n_way):
    return [row for row in results["rows"] if row["n_way"] == n_way]


def test_errors_are_drawn_with_their_interval_over_seeds(finished):
    figure = errors_figure(finished.results)
    assert "over seeds" in figure.get_suptitle()
    for axes, n_way in zip(figure.axes, (3, 2), strict=True):
        rows = in_panel(finished.results, n_way)
        assert markers(axes) == [row["error"] for row in rows]
        assert bars(axes) == [row["error_ci95_seeds"] for row in rows]
        assert axes.get_title() == f"{n_way}-way {1 if n_way == 3 else 3}-shot"
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "guided [class] · trained" in labels
    assert "vae · prototypical" in labels


def test_one_seed_is_drawn_with_its_interval_over_episodes(finished):
    results = copy.deepcopy(finished.results)
    for row in results["rows"]:
        row["seeds"], row["error_ci95_seeds"] = [0], None
    figure = errors_figure(results)
    assert "over episodes" in figure.get_suptitle()
    expected = [row["error_ci95_episodes"] for row in in_panel(results, 3)]
    assert bars(figure.axes[0]) == expected


def test_differences_are_drawn_without_the_baseline(finished):
    figure = differences_figure(finished.results)
    for axes, n_way in zip(figure.axes, (3, 2), strict=True):
        rows = [row for row in in_panel(finished.results, n_way) if row["arm"] != "vae"]
        assert markers(axes) == [row["paired_difference"] for row in rows]
        assert bars(axes) == [row["paired_difference_ci95"] for row in rows]


def test_errors_and_differences_of_many_sizes_have_logarithmic_axes(finished):
    results = copy.deepcopy(finished.results)
    rows = [row for row in results["rows"] if row["paired_with"]]
    for row in rows:
        row |= {"paired_difference": -4.0, "paired_difference_ci95": [-5.0, -3.0]}
    few = errors_figure(results), differences_figure(results)
    rows[0] |= {"error": 0.3, "error_ci95_seeds": [0.2, 0.4]}
    rows[0] |= {"paired_difference": -44.0, "paired_difference_ci95": [-46.0, -43.0]}
    rows[1] |= {"paired_difference": 0.01, "paired_difference_ci95": [-0.1, 0.12]}
    many = errors_figure(results), differences_figure(results)
    assert [figure.axes[0].get_xscale() for figure in few] == ["linear", "linear"]
    assert [figure.axes[0].get_xscale() for figure in many] == ["log", "symlog"]
    for figure in many:
        for axes in figure.axes:
            low, high = axes.get_xlim()
            drawable = [x for bar in bars(axes) for x in bar if figure is many[1] or x > 0]
            assert all(low < x < high for x in drawable)
            assert len(axes.get_xticks()) >= 3
    rows[0]["error"] = 0.0
    assert errors_figure(results).axes[0].get_xscale() == "linear", "0 has no logarithm"


def test_learners_of_one_amount_of_training_have_no_budgets(finished):
    """However many encoders of one kind there are."""
    rows = [row for row in finished.results["rows"] if row["learner"] == "trained"]
    twice = [*rows, *(row | {"arm": f"{row['arm']}_2"} for row in rows)]
    assert budgets_figure(finished.results | {"rows": twice}) is None


def test_an_elbo_is_drawn_of_arms_that_were_trained_by_it():
    def cell(**depends):
        history = [{"step": step, "score": 9.0, "negative_elbo": 500.0 - step} for step in (1, 2)]
        return SimpleNamespace(facts={"history": history, "depends": depends})

    alone = {("contrastive", 0): cell(elbo=False)}
    both = learning_curves_figure(SimpleNamespace(encoders=alone | {("vae", 0): cell()}))
    lines = [[line.get_label() for line in axes.lines] for axes in both.axes]
    assert lines == [["contrastive", "vae"], ["vae"]]
    (score,) = learning_curves_figure(SimpleNamespace(encoders=alone)).axes
    assert score.get_ylabel().startswith("score")


def test_a_study_of_the_baseline_alone_has_no_differences(finished):
    rows = [row for row in finished.results["rows"] if row["arm"] == "vae"]
    assert differences_figure(finished.results | {"rows": rows}) is None


def test_budgets_are_curves_of_one_learner(finished):
    assert budgets_figure(finished.results) is None, "no learner has two budgets"
    results = copy.deepcopy(finished.results)
    for row in results["rows"]:
        row["learner"] = f"one@{row['train_episodes']}"
    figure = budgets_figure(results)
    assert [axes.get_title()[:15] for axes in figure.axes] == ["one, 2-way 3-sh", "one, 3-way 1-sh"]
    axes = figure.axes[1]
    rows = [r for r in in_panel(results, 3) if r["arm"] == "vae"]
    curve = next(line for line in axes.lines if line.get_label() == "vae")
    assert list(curve.get_xdata()) == [0, 3]
    assert list(curve.get_ydata()) == [r["error"] for r in sorted(rows, key=lambda r: r["learner"])]
    labels = {line.get_label() for line in axes.lines}
    assert labels == {"vae", "random", "ExcitationInhibition", "ExcitationInhibition [class]"}
    assert len(axes.collections) == len(axes.lines), "a band for each"


@pytest.mark.parametrize("n_query", [3, 12])
def test_wrong_queries_are_framed_in_red(pixels, make_bank, n_query):
    bank = make_bank(noise=150.0)
    setting = Setting(4, 2, n_query)
    figure = episode_figure(Prototypical(pixels), bank, setting, seed=3)
    episode = EpisodeSampler(bank, setting, 3)[0].gather(bank.images.float().flatten(1))
    prototypes = episode.support[0].mean(1)
    predicted = torch.cdist(episode.query[0].flatten(0, 1), prototypes).argmin(1).view(4, n_query)
    shown = min(n_query, 8)
    grid = np.array(figure.axes).reshape(4, 2 + shown)
    n_wrong = 0
    for way in range(4):
        for query in range(shown):
            axes, guess = grid[way, 2 + query], int(predicted[way, query])
            colour = to_rgba("tab:green" if guess == way else "tab:red")
            assert axes.spines["left"].get_edgecolor() == colour
            assert axes.get_xlabel() == ("" if guess == way else str(guess))
            n_wrong += guess != way
    assert 0 < n_wrong < 4 * shown
    image = EpisodeSampler(bank, setting, 3)[0].gather(bank.images).query[0, 1, 2, 0]
    assert np.array_equal(grid[1, 4].images[0].get_array(), image.numpy())
