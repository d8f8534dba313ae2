"""Pictures of the encoders, arms side by side on the same held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.study.cell_index import Indexed
from fewshot.study.html.content import Content
from guided.html.images import Shown, of_sheet

ALL_PIXELS, MOST = 1_800_000, 120_000
"""Pixels of all sheets of a page together, and of one."""

TITLES = {
    "reconstructions": (
        "Reconstructions",
        "Held-out images above what the decoder makes of their codes.",
    ),
    "traversals": (
        "Traversals",
        "One image's code; in each row one latent moves from −3 to 3 of its standard deviations.",
    ),
    "traversals_light_decoder": (
        "Traversals through the light decoder",
        "The same, drawn by the linear basis and its deformation.",
    ),
    "traversals_basis": (
        "The basis, one latent at a time",
        "All other latents are 0.",
    ),
    "principal_components": (
        "Basis images",
        "By descending norm; grey is 0. They order and separate what varies only where the basis "
        "has converged.",
    ),
    "attribute_traversals": (
        "Along an attribute's direction",
        "An image, its reconstruction, and its code moved along what the attribute's latents "
        "excite, in standard deviations.",
    ),
}


@dataclass(frozen=True)
class Picture:
    """A sheet of one arm.

    Attributes:
        arm: its name.
        seed: of the encoder.
        sheet: the picture and its labels.
        moves: True if its columns are places of something that moves.
        note: a remark; empty: none.
    """

    arm: str
    seed: int
    sheet: Shown
    moves: bool
    note: str


@dataclass(frozen=True)
class Gallery:
    """The same kind of picture of several arms."""

    title: str
    text: str
    pictures: tuple[Picture, ...]


def galleries(content: Content, n_runs: int = 1) -> list[Gallery]:
    """Sheets of the first seed of each arm, by kind; none without the cells.

    Args:
        content: of the study.
        n_runs: studies on the page, which share its size.
    """
    found: dict[str, list[tuple[Indexed, Path]]] = {}
    for cell in first_seed(content):
        for path in sorted((cell.folder / "sheets").glob("*.png")):
            found.setdefault(path.stem, []).append((cell, path))
    n_sheets = sum(map(len, found.values())) * n_runs
    pixels = min(MOST, ALL_PIXELS // max(1, n_sheets))
    growing = {
        curve.arm
        for curve in content.curves
        if len(curve.history) > 1 and curve.kept == len(curve.history) - 1
    }
    order = [*(name for name in TITLES if name in found), *sorted(set(found) - set(TITLES))]
    return [
        Gallery(
            *TITLES.get(name, (name.replace("_", " "), "")),
            tuple(_picture(name, *pair, pixels, growing) for pair in found[name]),
        )
        for name in order
    ]


def first_seed(content: Content) -> Sequence[Indexed]:
    """The encoder of each arm's lowest seed."""
    encoders = content.index.encoders if content.index else ()
    seed = min((cell.seed for cell in encoders), default=0)
    return [cell for cell in encoders if cell.seed == seed]


def _picture(name: str, cell: Indexed, path: Path, pixels: int, growing: set[str]) -> Picture:
    note = ""
    if name in ("principal_components", "traversals_basis") and cell.arm in growing:
        note = (
            "Training ended at its best score yet: the basis may not have converged, and its "
            "images then mix what PCA would separate."
        )
    return Picture(cell.arm, cell.seed, of_sheet(path, pixels), name.startswith("traversals"), note)
