"""An object as a piece of HTML, which a notebook shows light or dark as it is itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Table:
    """A table of texts; ``name`` says what it holds."""

    name: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pictures:
    """Images in a line behind a name.

    Attributes:
        name: of all of them.
        images: name and data URI of each.
    """

    name: str
    images: tuple[tuple[str, str], ...]


@cache
def environment(package: str = __package__) -> "Environment":
    """Templates whose values are escaped, and whose names must be known.

    Args:
        package: holds the templates, beside those of this package.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fragment(
    title: str,
    text: str = "",
    *,
    tables: Sequence[Table] = (),
    pictures: Sequence[Pictures] = (),
    code: str = "",
) -> str:
    """The HTML of an object.

    Args:
        title: its name or its most important number.
        text: what else is to be said in a line.
        tables, pictures: shown below, in this order.
        code: text that is shown as it is, at the end.
    """
    template = environment().get_template("fragment.html")
    return template.render(title=title, text=text, tables=tables, pictures=pictures, code=code)
