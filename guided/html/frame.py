"""A whole page inside a notebook."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from guided.errors import InputError

BASE = '<base href="about:srcdoc">'
"""Without it, a link to a section would open the notebook's own page in the frame."""


@dataclass(frozen=True)
class Frame:
    """An HTML file that needs no other; a notebook shows it in place.

    Args:
        file: the page.
        height: of the frame, in pixels.

    Raises:
        InputError: there is no such file.
    """

    file: Path
    height: int = 640

    def __post_init__(self) -> None:
        if not self.file.is_file():
            raise InputError(f"{self.file}: no such page")

    def __str__(self) -> str:
        return str(self.file)

    def _repr_html_(self) -> str:
        # Not by the file's address, which notebooks resolve in different ways.
        page = escape(BASE + self.file.read_text(encoding="utf-8"))
        title = escape(self.file.name)
        size = f'width="100%" height="{self.height}"'
        return f'<iframe srcdoc="{page}" title="{title}" {size} style="border: 0"></iframe>'
