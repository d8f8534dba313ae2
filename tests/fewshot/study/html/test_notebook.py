"""Studies and their parts as a notebook shows them: the numbers of the report, names escaped."""

import re
from dataclasses import replace
from html import escape

import pytest

from fewshot.config import describe, load
from fewshot.study import ArmConfig, StudyConfig, StudyResult
from fewshot.study.run import Study
from fewshot.study.text import fixed, span
from guided import DeformablePCA, InputError
from guided.html.frame import BASE

NAME = "<b>vae & co"  # no / is in the name of a study


@pytest.fixture(scope="module")
def result(finished):
    return StudyResult.load(finished.folder)


@pytest.fixture
def read(tmp_path, read_page):
    """Read what a notebook shows, as a page."""

    def page(*shown):
        file = tmp_path / "shown.html"
        html = "".join(thing._repr_html_() for thing in shown)
        file.write_text(f"<!DOCTYPE html><h1>notebook</h1>{html}")
        return read_page(file)

    return page


def test_a_result_shows_what_its_report_says(result, finished, read, read_page):
    report = read_page(finished.folder / "report.html")
    shown = read(result)
    assert len(shown.tables) > 2 * len({row.learner for row in result.rows}) - 1
    assert shown.tables == report.tables[: len(shown.tables)]
    for part in ("warning", "verdicts"):
        (one,) = re.findall(rf'<(?:div|ul) class="{part}".*?</ul>', shown.source, re.S)
        assert one in report.source
    assert str(finished.folder) in shown.source
    assert ":root" not in shown.styles and shown.styles.strip().startswith(".guided-fewshot")


def test_a_result_without_a_folder_shows_its_rows(result, read):
    shown = read(replace(result, output=None))
    assert shown.tables == read(result).tables
    assert "files in" not in shown.source
    with pytest.raises(InputError, match="report: the study tiny has no run folder"):
        _ = replace(result, output=None).report


def test_the_report_is_shown_whole(result, finished):
    page = (finished.folder / "report.html").read_text()
    assert f'srcdoc="{escape(BASE + page)}"' in result.report._repr_html_()


def test_a_row_shows_its_error_and_pairs(result, read):
    row = next(row for row in result.rows if row.pairs)
    source = read(row).source
    for number in (fixed(row.error), span(row.error_ci95), fixed(row.pair.difference, 1, "+")):
        assert number in source
    assert row.arm in source and row.pair.partner in source


@pytest.fixture
def config(finished):
    return load(StudyConfig, finished.config)


def test_names_are_escaped(result, config, read):
    renamed = [replace(row, arm=NAME if row.arm == "vae" else row.arm) for row in result.rows]
    named = replace(result, study=NAME, rows=tuple(renamed), output=None)
    assert NAME not in read(named).source
    assert escape(NAME) in read(named).source
    assert NAME not in read(renamed[0]).source
    assert NAME not in read(replace(config, study=NAME)).source


def test_settings_are_shown_without_defaults(config, read):
    shown = read(config)
    assert f"{len(config.arms)} arms × 2 seeds × {len(config.learners)} learners" in shown.source
    added = re.findall(r"<dt>.*?</svg> (.*?)</dt>\s*<dd>(.*?)</dd>", shown.source, re.S)
    assert [name for name, _ in added] == list(config.arms)
    for (_, said), arm in zip(added, config.arms.values(), strict=True):
        assert ("nothing" in said) == (not describe(arm))
    assert "select_by" not in shown.source, "a default"
    (code,) = re.findall("<code>(.*?)</code>", read(ArmConfig()).source, re.S)
    assert code == "defaults"
    assert "DeformablePCA" in read(ArmConfig(guidance=[DeformablePCA()])).source
    learner = next(iter(config.learners.values()))
    assert "<b>Prototypical</b>" in read(learner).source


def test_a_study_shows_its_settings_and_images(config, read, shared_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSHOT_CACHE", str(shared_cache))
    splits = config.dataset(None).splits()
    shown = read(Study(config, splits, tmp_path / "run"))
    for name, bank in vars(splits).items():
        assert f"{name}: {bank.n_classes} classes, {len(bank)} images" in shown.source
        assert bank.class_names[0] in shown.source
    assert shown.source.count("<img") == sum(min(12, b.n_classes) for b in vars(splits).values())
    assert read(splits.test).source.count("<img") == min(12, splits.test.n_classes)
