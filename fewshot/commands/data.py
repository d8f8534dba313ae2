"""``fewshot data``: which datasets are here, and how to get the others."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import fewshot.data
from fewshot.data import Dataset, Listing, data_root
from guided.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="fewshot data", description="List the datasets, or download one."
    )
    parser.add_argument("--data-root", type=Path, help="default: $FEWSHOT_DATA, else ./data")
    parser.add_argument("--download", metavar="NAME", help="fetch a dataset below the data root")
    options = parser.parse_args(arguments)
    roots = data_root(options.data_root)
    public = [getattr(fewshot.data, name) for name in fewshot.data.__all__]
    classes = [cls for cls in public if getattr(cls, "listed", False) and cls is not Dataset]
    datasets = {cls.name: cls for cls in classes}
    if options.download:
        if options.download not in datasets:
            raise InputError(
                f"--download: {options.download!r} is not one of {', '.join(sorted(datasets))}"
            )
        datasets[options.download](roots).download()
    for root in roots:
        print(f"data root: {root}{'' if root.is_dir() else ' (no such folder)'}")
    print()
    print(_table([cls(roots).listing() for _, cls in sorted(datasets.items())]))
    print("\nyour own images: a folder of class folders, `class_path: ImageFolder` in a config")


def _table(listings: Sequence[Listing]) -> str:
    number = partial("{:,}".format)
    lines = [("dataset", "found", "classes", "images", "where, or how to get it")]
    lines += [
        (
            entry.name,
            "yes" if entry.found else "no",
            "–" if entry.classes is None else number(entry.classes),
            "–" if entry.images is None else number(entry.images),
            entry.where if entry.found else entry.how_to_get,
        )
        for entry in listings
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[4]])
        for line in lines
    )
