"""The one place where an arm gets its colour, marker and line style."""

from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#2497FD", "#E37407", "#811AFF", "#79976E", "#CE0931", "#C17CB0", "#B904B2")
"""Found by a random search for the largest smallest distance between two of them (27 in CIELAB)
under normal vision, protanopia, deuteranopia and tritanopia (Machado et al. 2009), with a contrast
of at least 3 with a white and with a nearly black page."""

MARKERS = ("o", "s", "^", "D", "v", "P", "p", "X")
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Style:
    """One arm's appearance in every figure of a study.

    Attributes:
        colour: as ``#RRGGBB``.
        marker: matplotlib's name of it.
        line: matplotlib's line style.
    """

    colour: str
    marker: str
    line: str


def arm_styles(arms: Iterable[str]) -> dict[str, Style]:
    """A style for each arm, by its place among all arms of the study.

    Markers go round with another period than colours, so that 56 arms differ in colour or marker,
    and 28 lines in colour or dashes.

    Args:
        arms: names in the order of the study; repeated ones count once.
    """
    return {
        arm: Style(
            COLOURS[i % len(COLOURS)],
            MARKERS[i % len(MARKERS)],
            DASHES[i // len(COLOURS) % len(DASHES)],
        )
        for i, arm in enumerate(dict.fromkeys(arms))
    }
