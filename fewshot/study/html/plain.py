"""A shorter page, for results that are tables and figures: their Markdown as HTML."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fewshot.study.html.images import of_figure
from fewshot.study.html.page import write_page
from fewshot.study.text import fixed


@dataclass(frozen=True)
class Table:
    """A table of a Markdown text; ``name`` is the text before it."""

    name: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Block:
    """One block of a Markdown text; exactly one attribute is not None."""

    paragraph: str | None = None
    items: tuple[str, ...] | None = None
    table: Table | None = None


def blocks(markdown: str) -> Iterator[Block]:
    """The paragraphs, lists and tables of the Markdown that this package writes."""
    name = "Results"
    for text in markdown.strip().split("\n\n"):
        lines = text.strip().splitlines()
        if not lines:
            continue
        start = next((i for i, line in enumerate(lines) if line.startswith("| ")), len(lines))
        before, rows = lines[:start], [line for line in lines[start:] if line.startswith("|")]
        after = [line for line in lines[start:] if not line.startswith("|")]
        for part in (before, rows, after):
            if not part:
                continue
            if part is rows:
                head, _, *body = (_cells(line) for line in rows)
                yield Block(table=Table(name, head, tuple(body)))
            elif all(line.startswith("- ") for line in part):
                yield Block(items=tuple(line[2:] for line in part))
            else:
                name = " ".join(part)
                yield Block(paragraph=name)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(
        cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")
    )


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
        texts=[(name, list(blocks(text))) for name, text in texts.items()],
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
