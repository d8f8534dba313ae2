"""The table of a terminal: its numbers and marks, its width, its words."""

import re
from dataclasses import replace

import pytest

from fewshot.printing import coloured
from fewshot.study.pivot import learner_entries, legend, pivot, pivot_markdown
from fewshot.study.rows import Pair, ResultRow

VAE = ResultRow(
    arm="vae",
    arm_group="vae",
    encoder="pretrained",
    guidance=(),
    seeds=(0, 1, 2),
    error=37.64,
    error_ci95=(33.1, 42.1),
    labelled=1.0,
    learner="prototypical",
    learner_group="prototypical",
    latents="all",
    transductive=False,
    batch_norm="fixed",
    test_views=1,
    meta_trained=False,
    train_episodes=0,
    n_way=5,
    n_shot=1,
    n_query=10,
    episodes=600,
    test_classes=100,
)


def beside(arm, difference, low, high, *, stands=False, **changes):
    pair = Pair(
        by="arm", partner="vae", difference=difference, ci95=(low, high), p=0.01, stands=stands
    )
    error = VAE.error + difference
    ends = error - 1.0, error + 1.0
    made = replace(VAE, arm=arm, arm_group=arm, error=error, error_ci95=ends, pairs=(pair,))
    return replace(made, **changes)


ROWS = [
    VAE,
    beside("same", -0.1, -0.5, 0.3),
    beside("lower", -17.9, -22.0, -13.8),
    beside("stands", -17.9, -19.0, -16.8, stands=True),
    beside("higher", 5.25, 0.5, 10.0, latents="class"),
]


def test_errors_differences_and_marks():
    assert pivot(learner_entries(ROWS), 80).splitlines() == [
        "prototypical       5-way 1-shot",
        "  vae              37.6 ±4.5",
        "  same             37.5 ±1.0   -0.1",
        "  lower            19.7 ±1.0  -17.9 *",
        "  stands           19.7 ±1.0  -17.9 *†",
        "  higher (class)   42.9 ±1.0   +5.2 *",
    ]


def test_the_same_as_markdown():
    rows = [*ROWS[:1], ROWS[3], replace(VAE, n_shot=5), replace(VAE, learner="ridge")]
    assert pivot_markdown(learner_entries(rows)).splitlines() == [
        "| prototypical | 5-way 1-shot | 5-way 5-shot |",
        "|---|---|---|",
        "| vae | 37.6 ±4.5 | 37.6 ±4.5 |",
        r"| stands | 19.7 ±1.0, -17.9 \*† |  |",
        "",
        "| ridge | 5-way 1-shot | 5-way 5-shot |",
        "|---|---|---|",
        "| vae | 37.6 ±4.5 |  |",
    ]


def test_words_name_the_marks_that_are_there():
    words = legend(ROWS, "episodes", 60)
    assert max(map(len, words.splitlines())) <= 60
    assert "over seeds and episodes; then the difference to vae." in " ".join(words.split())
    assert "\n* 95 % paired interval excludes 0\n" in words
    assert "\n† still does after Holm" in words
    assert "4 comparisons: 3 intervals exclude 0; 1 still" in words
    unmarked = legend(ROWS[:2], "episodes", 80)
    assert "* 95" not in unmarked and "\n†" not in unmarked
    alone = legend([replace(row, seeds=(0,)) for row in ROWS], "episodes", 80)
    assert "episodes of one seed" in alone and "another seed may differ" in alone
    assert "difference" not in legend([VAE], "episodes", 80)
    other = replace(ROWS[1].pairs[0], partner="classifier")
    mixed = [*ROWS, replace(ROWS[1], pairs=(other,))]
    assert "each arm's first partner" in " ".join(legend(mixed, "episodes", 80).split())


@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_settings_follow_below_where_they_find_no_room(columns):
    shapes = [(5, 1), (5, 5), (20, 1), (20, 5)]
    rows = [
        replace(row, arm=f"{row.arm}_with_a_name", learner=learner, n_way=way, n_shot=shot)
        for learner in ("prototypical", "ridge")
        for row in ROWS
        for way, shot in shapes
    ]
    shown = pivot(learner_entries(rows), columns)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(re.findall(r"\d+\.\d ±", shown)) == len(rows)
    found = re.findall(r"\d+-way \d-shot", shown)
    assert found == [f"{way}-way {shot}-shot" for way, shot in shapes] * 2
    blocks = [line for line in lines if not line.startswith("  ")]
    assert len(blocks) == 2 * {30: 4, 60: 4, 80: 2, 120: 1}[columns]


def test_a_missing_row_leaves_its_place_empty():
    rows = [*ROWS[:2], replace(VAE, n_shot=5)]
    assert pivot(learner_entries(rows), 80).splitlines() == [
        "prototypical   5-way 1-shot      5-way 5-shot",
        "  vae          37.6 ±4.5         37.6 ±4.5",
        "  same         37.5 ±1.0  -0.1",
    ]


def test_colours_change_no_character():
    entries = learner_entries(ROWS)
    shown = pivot(entries, 80, coloured)
    assert re.sub(r"\033\[\d+m", "", shown) == pivot(entries, 80)
    assert "\033[32m  -17.9 *†\033[0m" in shown and "\033[31m   +5.2 *\033[0m" in shown
