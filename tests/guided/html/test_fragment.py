"""Objects as HTML: names are escaped, and a page is shown whole."""

import re
from html import escape, unescape

import pytest

from guided import InputError
from guided.html.fragment import Pictures, Table, fragment
from guided.html.frame import BASE, Frame

NAME = "<script>alert(ä & b)</script>"


def test_names_are_escaped_everywhere():
    shown = fragment(
        NAME,
        NAME,
        tables=[Table(NAME, (NAME, "b"), ((NAME, NAME),))],
        pictures=[Pictures(NAME, ((NAME, "data:image/png;base64,"),))],
        code=NAME,
    )
    assert "<script" not in shown
    assert shown.count(escape(NAME)) == unescape(shown).count(NAME) > 8
    assert len(re.findall("<t[hd][ >]", shown)) == 4


def test_a_frame_holds_the_page(tmp_path):
    file = tmp_path / "a&b.html"
    file.write_text(f"<title>{NAME}</title><a href='#x'>\"ä\"</a>", encoding="utf-8")
    shown = Frame(file, 123)._repr_html_()
    assert unescape(re.search('srcdoc="([^"]*)"', shown)[1]) == BASE + file.read_text("utf-8")
    assert 'height="123"' in shown
    assert str(Frame(file)) == str(file)
    with pytest.raises(InputError, match=r"none\.html: no such page"):
        Frame(tmp_path / "none.html")
