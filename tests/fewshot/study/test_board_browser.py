"""TensorBoard's own page in Chromium, on a folder of runs: what it shows of a study.

Needs the dependency group ``browser`` and a Chromium or Chrome in the PATH.
"""

import re
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

ARMS = ("pixels", "random", "vae", "guided")
PATIENCE = 60_000
"""Milliseconds to wait for what the page has not loaded yet."""


@pytest.fixture(scope="module")
def page(finished, browser):
    """A page on a server of its own; nothing may fail in it while the tests look at it."""
    arguments = ["--logdir", str(finished.folder.parent), "--port", "0"]
    command = [sys.executable, "-m", "tensorboard.main", *arguments]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = iter(server.stderr.readline, "")
        found = (re.search(r"TensorBoard \S+ at (http://\S+)", line) for line in said)
        address = next(filter(None, found))[1]
        opened = browser.new_page(viewport={"width": 1500, "height": 1000}, base_url=address)
        opened.set_default_timeout(PATIENCE)
        wrong = []
        opened.on("console", lambda entry: entry.type == "error" and wrong.append(entry.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        yield opened
        opened.close()
        assert wrong == []
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()


def texts(place):
    return [" ".join(text.split()) for text in place.all_text_contents()]


def until(page, read, complete):
    """What is read from the page once it is complete: most of it loads step by step."""
    for _ in range(PATIENCE // 100):
        if complete(found := read()):
            return found
        page.wait_for_timeout(100)
    raise AssertionError(found)


def runs_of(finished, arms=ARMS, runs=("seed0", "seed1", "mean")):
    return {f"{finished.folder.name}/{arm}/{run}" for arm in arms for run in runs}


def test_scalars_of_every_run_under_the_name_of_its_study(page, finished):
    page.goto("/#scalars")
    board = page.locator("tf-scalar-dashboard")
    card = board.locator("tf-scalar-card", has_text="tag: 1_validation/kl")
    card.wait_for()
    trained = ("random/trained", "vae/trained", "guided/trained", "guided/trained_class")
    names = runs_of(finished) | runs_of(finished, trained, ("seed0", "seed1"))
    names |= {f"{finished.folder.name}/_report"}
    assert set(texts(board.locator(".item-label-container"))) == names
    groups = ["1_validation", "2_test", "3_loss", "3_loss_weighted"]
    assert texts(board.locator(".category-name")) == groups
    # Each as it is and smoothed: two arms' two seeds that were pretrained, and their means.
    lines = card.locator("path.line[d^=M]")
    until(page, lines.count, lambda n: n == 2 * 6)
    # Shown when the sign beside the title is clicked.
    assert card.get_by_text("KL divergence of the posterior from the prior").count() == 1


def test_images_of_every_arm_at_its_validations(page, finished):
    page.goto("/#images")
    board = page.locator("tf-image-dashboard")
    board.get_by_text("progress", exact=True).click()
    shown = board.locator("tf-image-loader", has_text="tag: progress/reconstructions")
    loaded = "all => all.map(image => image.naturalWidth)"
    widths = lambda: shown.locator("img").evaluate_all(loaded)  # noqa: E731
    found = until(page, widths, lambda found: len(found) == 4 and all(found))
    assert min(found) > 8 * 16, "sixteen columns"
    runs = set(texts(shown.locator("#heading-run")))
    assert runs == runs_of(finished, ("vae", "guided"), ("seed0", "seed1"))


def test_the_table_of_hyper_parameters_has_the_errors_of_the_results(page, finished):
    page.goto("/#hparams")
    cells = page.locator("tf-hparams-table-view vaadin-grid-cell-content")
    read = lambda: [text for text in texts(cells) if text]  # noqa: E731
    found = until(page, read, lambda found: sum(text.startswith("tiny/") for text in found) == 8)
    assert "2_test/3w1s_prototypical_error_%" in found
    for row in finished.results["rows"]:
        if row["learner"] == "prototypical" and row["latents"] == "all" and row["n_way"] == 3:
            wrong = finished.wrong[f"{row['arm']}|prototypical|all|3w1s"].mean(1)
            for seed, errors in zip(row["seeds"], 100 * wrong / (3 * row["n_query"]), strict=True):
                start = found.index(f"tiny/{row['arm']}/seed{seed}")
                assert f"{errors:.3f}" in found[start + 1 : start + 12]


def test_the_projector_shows_test_images(page, finished):
    page.goto("/#projector")
    frame = page.frame_locator("iframe").frame_locator("iframe")
    frame.get_by_text("Points: 40").wait_for()
    inputs = frame.locator("vz-projector-data-panel input").evaluate_all(
        "all => all.map(i => i.value)"
    )
    assert {"run/vae/seed0", "vae, test images", "class"} <= set(inputs)
    assert frame.get_by_text("4 runs found").count() == 1

    def dark():
        shown = Image.open(BytesIO(frame.locator("canvas").first.screenshot())).convert("L")
        return (np.asarray(shown) < 64).mean()

    until(page, dark, lambda share: share > 0.002)  # forty dark thumbnails on white


def test_custom_scalars_show_the_arms_side_by_side(page, finished):
    """Of the means, as the filter of runs leaves them; of two dozen charts the first is enough."""
    page.goto("about:blank")  # the page reads its filter when it is loaded
    page.goto("/#custom_scalars&regexInput=mean")
    board = page.locator("tf-custom-scalar-dashboard")
    card = board.locator("tf-custom-scalar-multi-line-chart-card").first
    card.wait_for()
    assert texts(board.locator(".category-name")) == ["Validation", "Test", "Losses"]
    entries = card.locator(".match-list-entry")
    until(page, entries.count, lambda n: n == 2)
    shown = {re.search(r"few_shot_error_% \((.+)\)", entry)[1] for entry in texts(entries)}
    assert shown == runs_of(finished, ("vae", "guided"), ("mean",))
    assert board.get_by_text("3w1s_prototypical_error_%", exact=True).count() == 1
