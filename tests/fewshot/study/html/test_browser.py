"""The report's page in Chromium: nothing is loaded, nothing overflows, and axe finds no fault.

Needs the dependency group ``browser`` and a Chromium or Chrome in the PATH.
"""

from pathlib import Path

import pytest

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")


@pytest.mark.parametrize(
    ("of", "width", "scheme"),
    [("a study", 390, "light"), ("a study", 1280, "dark"), ("an encoder", 390, "dark")],
)
def test_the_page_is_whole_accessible_and_fits(request, browser, of, width, scheme):
    made_by = {"a study": lambda: request.getfixturevalue("finished").folder}
    made_by["an encoder"] = lambda: request.getfixturevalue("made") / "pretrain"
    folder = made_by[of]()
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.goto((folder / "report.html").as_uri())
    assert [url for url in loaded if not url.startswith("data:")] == [page.url]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "[...document.images].every(i => i.loading == 'lazy' || i.naturalWidth > 0)"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.check(".move")
    moving = "getComputedStyle(document.querySelector('.moves img')).animationName"
    assert page.evaluate(moving) == "traverse"
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
    context.close()
