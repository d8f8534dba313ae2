"""YAML texts that may come from anyone: what they hold is bounded, and each key stands once."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from guided.ranges import shown

LARGEST = 1_000_000
"""Most characters of a text, and most characters and values with its aliases written out."""
DEEPEST = 50
"""Most collections inside each other."""
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
"""A number like 1e-3, which PyYAML takes for a text."""


class YAMLFault(ValueError):
    """A text that is not YAML, or not YAML that is read here; says in which line."""


def parse_yaml(text: str, *, lines: bool = True) -> Any:
    """The plain values of a YAML text.

    Unlike PyYAML's, ``1e-3`` is a number as it is in Python, and a date is a text.

    Args:
        text: to read.
        lines: say in which line a fault is.

    Raises:
        YAMLFault: it is not YAML, gives a key twice, refers to itself, or is too large or too deep.
    """
    import yaml

    if len(text) > LARGEST:
        raise YAMLFault(f"is too large for a configuration: over {LARGEST:,} characters")
    try:
        return yaml.load(text, _loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark and lines else ""
        said = " ".join(f"{error.problem or error.context}".split())
        known = isinstance(error, _loader().Refusal)
        raise YAMLFault(f"{where}{said if known else f'is not YAML ({said})'}") from error
    except yaml.reader.ReaderError as error:
        where = f"line {text.count(chr(10), 0, error.position) + 1}: " if lines else ""
        raise YAMLFault(f"{where}is not YAML ({error.reason})") from error


def _repeated(keys: Sequence[Any]) -> Iterator[tuple[Any, int]]:
    """Nodes of keys that stood before, and the line in which each stood first."""
    lines: dict[str, int] = {}
    for key in keys:
        if key.value in lines:
            yield key, lines[key.value]
        lines.setdefault(key.value, key.start_mark.line + 1)


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's, with bounds."""

        class Refusal(yaml.MarkedYAMLError):
            """Of YAML that is not read here."""

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.sizes: dict[yaml.Node, int] = {}
            self.depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            """The next node, whose size is that of all that it stands for."""
            event = self.peek_event()
            self.depth += 1
            if self.depth > DEEPEST:
                self.refuse(event, f"nested more than {DEEPEST} deep")
            node: Any = super().compose_node(parent, index)
            self.depth -= 1
            if isinstance(event, yaml.AliasEvent):
                if node not in self.sizes:
                    self.refuse(event, f"*{event.anchor} refers to itself")
                return node
            parts = node.value
            if isinstance(node, yaml.MappingNode):
                self.check_keys([key for key, _ in parts])
                parts = [part for pair in parts for part in pair]
            size = len(parts) if isinstance(parts, str) else sum(map(self.sizes.__getitem__, parts))
            self.sizes[node] = 1 + size
            if size >= LARGEST:
                self.refuse(event, f"over {LARGEST:,} characters with its aliases written out")
            return node

        def check_keys(self, keys: Sequence[Any]) -> None:
            """Refuse a key that stands twice; what ``<<`` adds may stand again."""
            own = [key for key in keys if key.tag != "tag:yaml.org,2002:merge"]
            for key, first in _repeated([key for key in own if isinstance(key, yaml.ScalarNode)]):
                before = f", first in line {first}" if key.start_mark.line else ""
                self.refuse(key, f"key {shown(key.value)!r} stands twice{before}")

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            """The value of a node."""
            try:
                return super().construct_object(node, deep)
            except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError):
                kind = node.tag.rpartition(":")[2]
                self.refuse(node, f"cannot be read as {kind}: {shown(node.value)}")

        def refuse(self, place: Any, message: str) -> Any:
            raise self.Refusal(problem=message, problem_mark=place.start_mark)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in Loader.yaml_implicit_resolvers.items()
    }
    return Loader
