"""Files of a selection, and its text for a terminal."""

from pathlib import Path

from fewshot.printing import Paint, filled, plain
from fewshot.study.html.plain import write_plain
from fewshot.study.select.figure import correlations_figure, errors_figure
from fewshot.study.select.selection import Selection
from fewshot.study.select.table import more_tables, notes, tables
from fewshot.study.text import markdown
from guided.storage.files import write_bytes, write_figure, write_json


def shown(selection: Selection, width: int = 80, paint: Paint = plain) -> str:
    """The tables in columns, and the notes.

    Args:
        selection: to be shown.
        width: of the terminal.
        paint: gives texts a style.
    """
    said = [filled(note, width) for note in notes(selection)]
    return "\n\n".join([*(table.plain(width, paint) for table in tables(selection)), *said])


def write_selection(selection: Selection, output: Path) -> None:
    """Write ``select.json``, ``select.md``, ``select.png``, ``select.html`` and figures of tests.

    Args:
        selection: to be written.
        output: the folder.
    """
    every = [*tables(selection), *more_tables(selection)]
    text = "\n".join(
        [*(table.markdown() for table in every), *(f"{n}\n" for n in notes(selection))]
    )
    write_json(output / "select.json", selection.to_json())
    write_bytes(output / "select.md", text.encode())
    if selection.tests:
        write_figure(output / "select.png", correlations_figure(selection))
    figures = {"Rank correlations": "select.png"}
    for test in selection.tests:
        name = test.replace(", ", "_").replace(" ", "_")
        figures[f"Errors, {test}"] = f"errors/{name}.png"
        write_figure(output / "errors" / f"{name}.png", errors_figure(selection, test))
    write_plain(
        output / "select.html",
        "Selection without labels",
        "Encoders of finished comparisons, ranked without labels.",
        {table.title: markdown(table.head, table.lines) for table in every}
        | {"Notes": "\n\n".join(notes(selection))},
        figures,
        {},
        ("select.json", "select.md"),
    )
