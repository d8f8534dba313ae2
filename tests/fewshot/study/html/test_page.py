"""The report's page: its numbers are those of the files, and it needs nothing else."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fewshot.study.cell_index import CellIndex, Indexed
from fewshot.study.html.content import Content
from fewshot.study.html.pictures import ALL_PIXELS
from fewshot.study.html.tables import difference_table, error_table
from fewshot.study.rows import ResultRow
from fewshot.study.text import STANDS, arm_label, fixed, partner_label, span
from guided.figures import Sheet
from guided.html.images import of_sheet
from guided.storage.files import read_json


@pytest.fixture(scope="module")
def page(finished, read_page):
    return read_page(finished.folder / "report.html")


def words(text):
    return " ".join(text.split())


def cells_of(page, n_settings):
    """label -> cells of each line of the tables of errors and differences, in their order."""
    return [
        {words(row[0]): [words(cell) for cell in row[1:]] for row in rows[1:]}
        for rows in page.tables
        if len(rows[0]) == 1 + n_settings and rows[0][1].endswith("shot")
    ]


def test_every_number_of_the_rows_is_on_the_page(finished, page):
    rows = [ResultRow.from_json(row) for row in finished.results["rows"]]
    tables = iter(cells_of(page, 2))
    settings = list(dict.fromkeys(row.label for row in rows))
    for learner in dict.fromkeys(row.learner for row in rows):
        errors, differences = next(tables), next(tables)
        for row in (row for row in rows if row.learner == learner):
            place = settings.index(row.label)
            (cell,) = (c[place] for label, c in errors.items() if _named(label, arm_label(row)))
            both = span(row.error_ci95), span(row.error_ci95_new_classes)
            assert cell.split(" ", 1)[0] == fixed(row.error)
            assert all(interval in cell for interval in both)
            for pair in row.pairs:
                name = f"{arm_label(row)} − {partner_label(row, pair)}"
                (cell,) = (c[place] for label, c in differences.items() if _named(label, name))
                assert cell.startswith(fixed(pair.difference, sign="+"))
                assert span(pair.ci95, sign="+") in cell
                assert span(pair.ci95_new_classes, sign="+") in cell
    assert next(tables, None) is None


def _named(label, name):
    """A line's label is the name, and a mark of its role or what it answers."""
    rest = label.removeprefix(name)
    return label.startswith(name) and not rest.startswith((" (", " −"))


def test_sections_come_in_order_and_files_are_linked(page, finished):
    assert [words(h) for h in page.headings[:2]] == ["tiny", "Verdict"]
    order = [page.source.index(f'<h2 id="{name}"') for name in page.ids if name in SECTIONS]
    assert len(order) == len(SECTIONS) and order == sorted(order)
    links = {link for link in page.links if not link.startswith("#")}
    assert {"results.json", "episodes.npz", "table.md", "config.yaml", "cells/"} <= links
    assert f"fewshot compare {finished.folder}/config.yaml" in page.source
    assert "excitation: 10" in page.source, "what the arm adds"
    assert finished.results["versions"]["torch"] in page.source


SECTIONS = (
    *("verdict", "tables", "figures", "curves", "diagnostics", "pictures", "episodes"),
    "reproduce",
)


def test_it_can_be_read_by_keyboard_and_without_a_mouse(page):
    assert '<a class="skip" href="#main">' in page.source
    for table in re.finditer(r"<table", page.source):
        before = page.source[: table.start()].rstrip()
        assert before.endswith('tabindex="0">'), "a table scrolls in a container with focus"
    assert all(re.search(r'scope="\w+"', th) for th in re.findall(r"<th\b[^>]*>", page.source))
    assert page.source.count('role="img"') == len(re.findall(r'<svg viewBox="0 0 400', page.source))
    for rule in ("prefers-color-scheme: dark", "@media print", "focus-visible"):
        assert rule in page.styles


def test_bold_is_what_stands_after_the_correction(content, with_rows, render):
    rows = [
        replace(row, pairs=tuple(replace(pair, stands=False) for pair in row.pairs))
        for row in content.rows
    ]
    none = with_rows(rows)
    assert not [text for text in render(none).strong if STANDS in text and "Bold" not in text]
    chosen = next(i for i, row in enumerate(rows) if row.arm == "guided")
    (pair,) = rows[chosen].pairs
    marked = list(rows)
    marked[chosen] = replace(rows[chosen], pairs=(replace(pair, stands=True),))
    one = with_rows(marked)
    for table in (error_table, difference_table):
        lines = table(one, rows[chosen].learner).lines
        strong = [(line.label, c.number) for line in lines for c in line.cells if c and c.strong]
        number = rows[chosen].error if table is error_table else pair.difference
        sign = "" if table is error_table else "+"
        assert strong == [(arm_label(rows[chosen]), fixed(number, sign=sign))]
    texts = [words(text) for text in render(one).strong]
    assert f"{fixed(pair.difference, sign='+')} {STANDS}" in texts
    assert f"{fixed(rows[chosen].error)} {STANDS}" in texts


def test_names_are_escaped(content, with_rows, render):
    name = """<b>g</b> & "x" 'y'"""

    def named(row):
        pairs = tuple(replace(pair, partner=name) for pair in row.pairs)
        return replace(row, arm=name if row.arm == "vae" else row.arm, pairs=pairs)

    changed = with_rows(map(named, content.rows))
    page = render(replace(changed, index=None, counts=replace(content.counts, wrong={})))
    assert name not in page.source
    assert "&lt;b&gt;g&lt;/b&gt; &amp;" in page.source
    assert any(name in words(row[0]) for rows in page.tables for row in rows)


def test_without_cells_it_says_what_is_missing(content, render):
    page = render(replace(content, index=None))
    assert page.source.count("not at hand") == 3  # curves, pictures, episodes
    assert "not at hand" not in render(content).source


def test_several_studies_stand_side_by_side(content, render):
    page = render(content, replace(content, result=replace(content.result, study="other")))
    names = [words(heading) for heading in page.headings]
    assert names.count("tiny (1 of 2)") == names.count("other (2 of 2)") == len(SECTIONS)
    assert len(cells_of(page, 2)) == 2 * len(cells_of(render(content), 2))


SHEETS = {"reconstructions": (2, 12), "traversed_image": (2, 1), "principal_components": (2, 10)}
SHEETS |= dict.fromkeys(("traversals", "traversals_light_decoder", "traversals_basis"), (10, 9))


@pytest.fixture
def ten_arms(content, tmp_path):
    """A study of ten arms and three seeds of colour images of 84 pixels, all of them noise."""
    rng = np.random.default_rng(0)
    names = [f"arm{i}" for i in range(10)]
    (tmp_path / "sheets").mkdir()
    for name, (n_rows, n_columns) in SHEETS.items():
        noise = rng.integers(0, 256, (84 * n_rows, 84 * n_columns, 3), np.uint8)
        labels = [tuple(f"content {i}" for i in range(n)) for n in (n_rows, n_columns)]
        Sheet(noise, *labels).save(tmp_path / "sheets" / f"{name}.png")
    cells = [Indexed(arm, seed, tmp_path / f"{arm}-{seed}") for arm in names for seed in range(3)]
    history = [
        {"step": 50 * i, "score": 60 - i, "negative_elbo": 99.0 - i, "kl": 9.0}
        for i in range(1, 41)
    ]
    for cell in cells:
        cell.folder.mkdir()
        (cell.folder / "sheets").symlink_to(tmp_path / "sheets")
        (cell.folder / "cell.json").write_text(json.dumps({"history": history}))
    episodes, shape = 8, (5, 5, 3, 84, 84)
    images = {n: rng.integers(0, 256, (episodes, *shape), np.uint8) for n in ("support", "query")}
    pictured = rng.integers(0, 256, (12, 4, *shape[2:]), np.uint8)
    predicted = rng.integers(0, 5, (10, episodes, 5, 5), np.uint8)
    np.savez(tmp_path / "examples.npz", **images, pictured=pictured, predicted=predicted)
    classes = [f"class {i}" for i in range(12)]
    one = {"reason": "x", "classes": classes[:5], "wrong": [9] * 10, "queries": 75}
    pairs = [
        {"true": a, "predicted": b, "counts": dict.fromkeys(names, 3)}
        for a, b in zip(classes[::2], classes[1::2], strict=True)
    ]
    facts = {
        "arms": [{"arm": name, "learner": "prototypical", "seed": 0} for name in names],
        "setting": {"n_way": 5, "n_shot": 5},
        "episodes": [one | {"number": i} for i in range(episodes)],
        **{"counted": 50, "confused": pairs, "classes": classes},
    }
    (tmp_path / "cell.json").write_text(json.dumps(facts))
    rows, wrong = [], {}
    for row in (row for row in content.rows if (row.arm, row.latents) == ("guided", "all")):
        for name in names:
            pairs = tuple(replace(pair, partner=names[0]) for pair in row.pairs if name != names[0])
            rows.append(replace(row, arm=name, arm_group=name, pairs=pairs))
            wrong[rows[-1].key] = content.counts.wrong[row.key]
    return Content(
        replace(content.result, rows=tuple(rows), diagnostics=()),
        replace(content.counts, wrong=wrong),
        CellIndex(tuple(cells), (), tmp_path),
        content.file,
    )


def test_a_page_of_ten_arms_stays_small(ten_arms, render):
    """At the sizes of mini-ImageNet; noise, in colours, is what compresses worst."""
    page = render(ten_arms)
    sheets = [alt for alt in page.alts if " rows of " in alt]
    assert len(sheets) == 10 * len(SHEETS)
    assert len(page.alts) > len(sheets) + 400, "episodes and confused classes"
    loaded = sum(map(len, page.loaded))
    assert 1e6 < loaded < page.size < 5e6
    assert "No pictures of" not in page.source
    # An allowance is shared by all sheets, and no picture is bent.
    shown = of_sheet(ten_arms.index.examples / "sheets" / "traversals.png", ALL_PIXELS // 60)
    assert shown.width * shown.height <= ALL_PIXELS // 60
    assert shown.width / shown.height == pytest.approx(0.9, abs=0.01)


def test_encoders_of_an_earlier_version_are_named(content, render, tmp_path):
    """They have pictures, but no sheets."""
    index = content.index
    moved = []
    for cell in index.encoders:
        folder = tmp_path / cell.folder.name
        shutil.copytree(cell.folder, folder)
        if cell.arm == "guided":
            shutil.rmtree(folder / "sheets")
        moved.append(replace(cell, folder=folder))
    page = render(replace(content, index=replace(index, encoders=tuple(moved))))
    assert page.source.count("No pictures of guided: an earlier version trained this encoder") == 1
    assert not any(" of guided: " in alt for alt in page.alts)
    assert any(" of vae: " in alt for alt in page.alts), "the others are shown"


def test_the_page_shows_the_examples_answers(finished, page):
    (folder,) = (finished.folder / "cells").glob("examples-*")
    facts = read_json(folder / "cell.json")
    with np.load(folder / "examples.npz") as stored:
        predicted = stored["predicted"]
    arms = [entry["arm"] for entry in facts["arms"]]
    tables = [rows for rows in page.tables if len(rows[1]) > 1 and rows[1][1] == "wrong"]
    assert len(tables) == len(facts["episodes"])
    for i, (rows, episode) in enumerate(zip(tables, facts["episodes"], strict=True)):
        for row in rows[2:]:
            arm = arms.index(words(row[0]))
            assert int(row[1]) == episode["wrong"][arm]
            truth = np.arange(3).repeat(4)
            taken = predicted[arm, i].ravel()
            pairs = zip(truth, taken, strict=True)
            expected = ["✓" if way == p else "✗" + "ABC"[p] for way, p in pairs]
            assert [words(cell) for cell in row[2:]] == expected
