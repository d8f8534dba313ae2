"""Typed configuration: YAML files and ``--key value`` to dataclasses, and back to plain values."""

from fewshot.config.classes import class_name, short_name
from fewshot.config.command_line import parse
from fewshot.config.description import describe, made_by, settings_of, write_yaml
from fewshot.config.load import load

__all__ = [
    "class_name",
    "describe",
    "load",
    "made_by",
    "parse",
    "settings_of",
    "short_name",
    "write_yaml",
]
