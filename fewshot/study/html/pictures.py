"""Pictures of the encoders, arms side by side on the same held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewshot.study.html.content import Content
from fewshot.study.outcome import LearningCurve
from guided.html.images import Shown, of_sheet

ALL_PIXELS, MOST = 1_800_000, 120_000
"""Pixels of all sheets of a page together, and of one."""

TITLES = {
    "reconstructions": (
        "Reconstructions",
        "Held-out images above what the decoder makes of their codes.",
    ),
    "traversed_image": (
        "The image that traversals move",
        "A held-out image, and what the decoder makes of its code.",
    ),
    "traversals": (
        "Traversals",
        "The code of the image above; in each row one latent moves from −3 to 3 of its standard "
        "deviations over images. Rows are by role, then by KL: the bar is the latent's KL for this "
        "image, in nats.",
    ),
    "traversals_light_decoder": (
        "Traversals through the light decoder",
        "The same, drawn by the linear basis and its deformation.",
    ),
    "traversals_basis": (
        "The basis, one latent at a time",
        "All other latents are 0.",
    ),
    "learned_deformations": (
        "Learned deformations",
        "Training images moved along the principal deformations that the arm's augmentation draws, "
        "in standard deviations; beside them their share of the variance.",
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


@dataclass(frozen=True)
class Pictured:
    """An encoder of the page.

    Attributes:
        arm, seed: of the encoder.
        folder: with the folder ``sheets``.
        growing: why its training had not converged; empty if it had, or if nothing tells.
    """

    arm: str
    seed: int
    folder: Path
    growing: str = ""

    @property
    def sheets(self) -> list[Path]:
        """Files of its sheets."""
        return sorted((self.folder / "sheets").glob("*.png"))

    @property
    def lost(self) -> bool:
        """True if it was drawn by an earlier version, which kept no sheets."""
        drawn = ("decoder.safetensors", "traversals.png")
        return not self.sheets and any((self.folder / name).exists() for name in drawn)


def galleries(encoders: Sequence[Pictured], n_runs: int = 1) -> list[Gallery]:
    """Sheets of encoders, by kind.

    Args:
        encoders: of one study or run.
        n_runs: studies on the page, which share its size.
    """
    found: dict[str, list[tuple[Pictured, Path]]] = {}
    for encoder in encoders:
        for path in encoder.sheets:
            found.setdefault(path.stem, []).append((encoder, path))
    n_sheets = sum(map(len, found.values())) * n_runs
    pixels = min(MOST, ALL_PIXELS // max(1, n_sheets))
    order = [*(name for name in TITLES if name in found), *sorted(set(found) - set(TITLES))]
    return [
        Gallery(
            *TITLES.get(name, (name.replace("_", " "), "")),
            tuple(_picture(name, *pair, pixels) for pair in found[name]),
        )
        for name in order
    ]


def first_seed(content: Content) -> list[Pictured]:
    """The encoder of each arm's lowest seed; none without the cells."""
    growing = {(facts.arm, facts.seed): facts.growing for facts in content.result.encoders}
    encoders = content.index.encoders if content.index else ()
    seed = min((cell.seed for cell in encoders), default=0)
    return [
        Pictured(cell.arm, cell.seed, cell.folder, growing.get((cell.arm, cell.seed), ""))
        for cell in encoders
        if cell.seed == seed
    ]


def ended_at_best(curve: LearningCurve) -> bool:
    """True if a training of several validations ended at its best score yet."""
    return len(curve.history) > 1 and curve.kept == len(curve.history) - 1


def _picture(name: str, encoder: Pictured, path: Path, pixels: int) -> Picture:
    note = ""
    if name in ("principal_components", "traversals_basis") and encoder.growing:
        note = (
            f"Basis not converged: {encoder.growing}. Its images then mix what PCA would separate."
        )
    sheet, moves = of_sheet(path, pixels), name.startswith("traversals")
    return Picture(encoder.arm, encoder.seed, sheet, moves, note)
