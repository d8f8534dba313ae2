"""``fewshot data``: the datasets that are here, and how to get the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fewshot.commands.common import ImageCommand
from fewshot.config import parse
from fewshot.config.classes import nearest, own_classes
from fewshot.data import Dataset, Listing, data_root
from guided.errors import InputError


@dataclass(frozen=True)
class DataCommand(ImageCommand):
    """List the datasets, or download one.

    Args:
        download: name of a dataset to fetch below the data root.
    """

    download: str | None = None


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse(DataCommand, arguments, "fewshot data")
    roots = data_root(config.data_root)
    classes = own_classes(Dataset).values()
    datasets = {cls.name: cls for cls in classes if issubclass(cls, Dataset) and cls.listed}
    if config.download:
        if config.download not in datasets:
            known = ", ".join(sorted(datasets))
            meant = nearest(config.download, datasets) or "."
            raise InputError(
                f"download: no dataset is called '{config.download}'{meant} Datasets: {known}"
            )
        datasets[config.download](roots).download()
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
