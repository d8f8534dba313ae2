"""The page's figures: places are those of the numbers, and arms can be told apart."""

from dataclasses import replace

import pytest

from fewshot.study.cell_index import CellIndex
from fewshot.study.colours import COLOURS, arm_styles
from fewshot.study.figures import WIDE
from fewshot.study.html.markdown import blocks
from fewshot.study.html.plots import curves_plot, differences_plot, errors_plot
from fewshot.study.html.scales import Scale, scale_of
from fewshot.study.outcome import LearningCurve
from fewshot.study.text import markdown


def relative_luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_many_arms_differ_and_keep_their_style():
    names = [f"arm {i}" for i in range(28)]
    styles = arm_styles(names)
    assert len({(s.colour, s.marker) for s in styles.values()}) == 28
    assert len({(s.colour, s.line) for s in styles.values()}) == 28
    assert len({s.colour for s in list(styles.values())[:7]}) == 7
    assert arm_styles([*names[:3], *names[:3]]) == arm_styles(names[:3])


@pytest.mark.parametrize("page", [1.0, relative_luminance("#15171A")])
def test_colours_are_seen_on_light_and_dark_pages(page):
    for colour in COLOURS:
        light, dark = sorted((page, relative_luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_an_axis_is_logarithmic_only_where_values_span_a_factor_of_thirty():
    assert not scale_of([1, WIDE], 0, 100, log=True).log
    assert scale_of([1, WIDE + 1], 0, 100, log=True).log
    assert not scale_of([0, WIDE + 1], 0, 100, log=True).log, "0 has no logarithm"
    assert not scale_of([1, WIDE + 1], 0, 100).log
    linear, log = Scale(0, 50, 100, 200), Scale(1, 100, 0, 100, log=True)
    assert [linear(25), log(10), linear(99)] == [150, 50, 200]
    assert linear.ticks == [(100 + 20 * i, str(10 * i)) for i in range(6)]
    assert [label for _, label in log.ticks] == ["1", "2", "5", "10", "20", "50", "100"]
    assert scale_of([3, 3], 0, 1).ticks, "one value has an axis too"


def test_points_bars_and_seeds_are_where_the_numbers_are(content):
    learner, styles = content.learners[0], arm_styles(content.arms)
    rows = content.rows_of(learner)
    plot = errors_plot(learner, rows, content.errors, styles)
    assert [panel.title for panel in plot.panels] == ["3-way 1-shot", "2-way 3-shot"]
    ticks = {panel.ticks for panel in plot.panels}
    assert len(ticks) == 1, "the axis is shared"
    # Two ticks give the scale back.
    (x0, v0), (x1, v1) = [(x, float(label)) for x, label in ticks.pop()][:2]

    def value(x):
        return v0 + (x - x0) * (v1 - v0) / (x1 - x0)

    close = pytest.approx
    for panel in plot.panels:
        shown = [row for row in rows if f"{row.n_way}-way" in panel.title]
        for point, row in zip(panel.points, shown, strict=True):
            assert value(point.x) == close(row.error, abs=0.3)
            assert list(map(value, point.bar)) == close(row.error_ci95, abs=0.3)
            seeds = content.errors[row.key].mean(1)
            assert list(map(value, point.seeds)) == close(seeds, abs=0.3)
            assert point.style == styles[row.arm]
        assert value(panel.line) == close(100 * (1 - 1 / shown[0].n_way), abs=0.3)
        assert panel.line_label == "chance"


def test_differences_have_a_line_at_zero_and_far_chance_is_said(content):
    learner, styles = content.learners[0], arm_styles(content.arms)
    rows = content.rows_of(learner)
    plot = differences_plot(learner, rows, content.errors, styles)
    first = plot.panels[0]
    zero = next(x for x, label in first.ticks if label == "0")
    assert {panel.line for panel in plot.panels} == {zero}
    assert sum(len(panel.points) for panel in plot.panels) == sum(len(row.pairs) for row in rows)
    better = [p.x < zero for p in first.points]
    pairs = [row.pair for row in rows if row.n_way == 3 and row.pair]
    assert better == [pair.difference < 0 for pair in pairs]
    alone = [replace(row, pairs=()) for row in rows]
    assert differences_plot(learner, alone, content.errors, styles) is None
    low = [replace(row, error=2.0, error_ci95=(1.0, 3.0)) for row in rows]
    panel = errors_plot(learner, low, {}, styles).panels[1]
    assert (panel.line, panel.line_label) == (-1, "chance 50 →")


def test_curves_mark_the_step_that_was_kept(content):
    history = [{"step": s, "score": v} for s, v in ((10, 9.0), (20, 4.0), (30, 4.0))]
    plot = curves_plot("e", "score", [LearningCurve("vae", 0, history)], arm_styles(["vae"]))
    (line,) = plot.lines
    assert "kept step 20" in line.title, "the first of equal ones"
    places = [tuple(map(float, place.split(","))) for place in line.points.split()]
    assert line.kept == places[1] and places[0][1] < places[1][1], "higher is worse"
    assert curves_plot("e", "negative_elbo", [LearningCurve("vae", 0, history)], {}) is None
    assert {curve.arm for curve in content.curves} == {"vae", "guided"}
    assert set(content.trainings) == {"trained"}
    of_class = LearningCurve("vae", 0, history, latents="class")
    (line,) = curves_plot("e", "score", [of_class], arm_styles(["vae"])).lines
    assert line.title.startswith("vae (class), seed 0")


def test_a_training_that_two_learners_use_is_drawn_once(content):
    first = content.index.trainings[0]
    both = CellIndex(trainings=(first, replace(first, learner="after")))
    assert set(replace(content, index=both).trainings) == {first.learner}


def test_markdown_becomes_blocks():
    table = markdown(["arm", "error"], [["vae", "1.0 †"], ["pixels", ""]])
    found = list(blocks(f"Whose runs.\n\n- own: 20\n- drawn: 3\n\n{table}\nA note.\n"))
    assert [block.paragraph for block in found if block.paragraph] == ["Whose runs.", "A note."]
    assert [block.items for block in found if block.items] == [("own: 20", "drawn: 3")]
    (table,) = (block.table for block in found if block.table)
    assert table.head == ("arm", "error")
    assert table.lines == (("vae", "1.0 †"), ("pixels", ""))
