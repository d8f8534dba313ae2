"""The report's page in Chromium: nothing is loaded, nothing overflows, and axe finds no fault.

Needs the dependency group ``browser`` and a Chromium or Chrome in the PATH.
"""

from pathlib import Path

import pytest

from fewshot.study import StudyResult

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
AXE = Path(axe.__file__).parent / "axe.min.js"


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
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
    context.close()


@pytest.mark.parametrize(("ground", "text"), [("#fff", "#1b1b1b"), ("#111", "#e8e8e8")])
def test_a_notebook_light_or_dark_has_contrast(finished, browser, ground, text):
    result = StudyResult.load(finished.folder)
    page = browser.new_page(viewport={"width": 700, "height": 900})
    shown = result._repr_html_() + result.rows[-1]._repr_html_()
    style = f"background: {ground}; color: {text}"
    page.set_content(f'<body style="{style}">{shown}</body>')
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({runOnly: ['color-contrast']})")
    # Of texts that are scrolled out of sight, and of symbols, axe cannot tell.
    assert sum(len(rule["nodes"]) for rule in found["passes"]) > 50
    assert [node["html"] for fault in found["violations"] for node in fault["nodes"]] == []
    page.close()


def test_links_to_sections_stay_in_the_frame(finished, browser):
    page = browser.new_page()
    page.set_content(StudyResult.load(finished.folder).report._repr_html_())
    frame = page.frames[1]
    frame.click("nav a[href='#tables']")
    assert frame.url == "about:srcdoc#tables"
    assert frame.inner_text("h1") == "tiny"
    assert frame.evaluate("document.querySelector('#tables').getBoundingClientRect().top") < 300
    page.close()
