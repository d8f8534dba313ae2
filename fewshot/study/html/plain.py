"""A shorter page, for results that are tables and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fewshot.study.html.markdown import blocks
from fewshot.study.html.page import write_page
from fewshot.study.text import fixed
from guided.html.images import of_figure


def write_plain(
    path: Path,
    title: str,
    lead: str,
    texts: Mapping[str, str],
    figures: Mapping[str, str],
    facts: Mapping[str, Any],
    files: Sequence[str],
) -> None:
    """Write a page of tables and figures.

    Args:
        path: of the page.
        title: its heading.
        lead: what it is about, in a sentence.
        texts: heading -> Markdown.
        figures: heading -> name of a PNG beside the page; shown where it exists.
        facts: of the result: versions, hardware, seconds.
        files: names beside the page, to be linked where they exist.
    """
    shown = {
        name: of_figure(path.parent / file)
        for name, file in figures.items()
        if (path.parent / file).exists()
    }
    write_page(
        path,
        "plain.html",
        title=title,
        lead=lead,
        texts=[(name, list(blocks(text, f"Table: {name}"))) for name, text in texts.items()],
        figures=list(shown.items()),
        facts=list(flat(facts).items()),
        files=[(quote(name), name) for name in files if (path.parent / name).exists()],
    )


def flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """Versions, hardware and seconds, by name."""
    found = {**facts.get("versions", {}), **facts.get("hardware", {})}
    plain = {name: str(value) for name, value in found.items() if value is not None}
    for name in ("seconds", "seconds_reused"):
        if name in facts:
            plain[name.replace("_", " ")] = fixed(facts[name], 0)
    return plain
