"""YAML files, and the error that names a key of them."""

from pathlib import Path
from typing import Any

from fewshot.config.yaml import LARGEST, YAMLFault, parse_yaml
from guided.errors import InputError
from guided.readers.regular import check_regular


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
        if path.parts[:2] != ("/", "dev"):  # as of a shell's <(command)
            check_regular(path)
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        content = read_yaml(text, str(path), lines=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not YAML ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return content


def read_yaml(text: str, name: str, *, lines: bool = False) -> Any:
    """A YAML text, see :func:`fewshot.config.yaml.parse_yaml`.

    Raises:
        KeyFault: it is not YAML; ``name`` says what.
    """
    try:
        return parse_yaml(text, lines=lines)
    except YAMLFault as error:
        raise KeyFault(name, str(error)) from error
