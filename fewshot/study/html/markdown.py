"""The Markdown that this package writes, as blocks for a template."""

from collections.abc import Iterator
from dataclasses import dataclass

from guided.html.fragment import Table


@dataclass(frozen=True)
class Block:
    """One block of a Markdown text; exactly one attribute is not None."""

    paragraph: str | None = None
    items: tuple[str, ...] | None = None
    table: Table | None = None


def blocks(markdown: str, name: str = "Results") -> Iterator[Block]:
    """The paragraphs, lists and tables of the Markdown that this package writes.

    Args:
        markdown: the text.
        name: of a table without text before it.
    """
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
