"""YAML files and values, and the error that names a key of them."""

import functools
import re
from pathlib import Path
from typing import Any

from guided.errors import InputError


class KeyFault(InputError):
    """A fault of one key of a configuration.

    Args:
        key: its path, ``pretrain.steps``.
        message: what is wrong with it.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key


def read_file(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = read_yaml(path.read_text(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not YAML ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return content


def read_yaml(text: str, name: str) -> Any:
    """A YAML text, in which ``1e-3`` is a number as it is in Python.

    Raises:
        KeyFault: it is not YAML; ``name`` says what.
    """
    import yaml

    try:
        return yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise KeyFault(name, f"is not YAML ({' '.join(str(error).split())})") from error


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML takes ``1e-3``, without a point, for a text."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader
