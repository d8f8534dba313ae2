"""One page of the finished study, read as a browser would."""

from dataclasses import replace

import pytest

from fewshot.study.html.content import Content
from fewshot.study.html.page import write_comparisons


@pytest.fixture(scope="session")
def content(finished):
    return Content.load(finished.folder)


@pytest.fixture
def with_rows(content):
    """The study with other rows."""

    def change(rows):
        return replace(content, result=replace(content.result, rows=tuple(rows)))

    return change


@pytest.fixture
def render(tmp_path, read_page):
    """Write the page of studies and read it."""

    def page(*contents):
        write_comparisons(contents, tmp_path / "report.html")
        return read_page(tmp_path / "report.html")

    return page
