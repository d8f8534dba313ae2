"""The schema of encoder files: all that they state is checked before anything is built from it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from guided.errors import InputError, some

LARGEST_IMAGE = 2**26  # values
MOST_LATENTS = 2**20
LONGEST_NAME = 200


def read_description(text: str) -> dict[str, Any]:
    """The checked description of an encoder.

    Args:
        text: JSON, as :meth:`guided.Encoder.description` makes it.

    Raises:
        InputError: it is none; names the key.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"encoder: expected JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict):
        raise InputError(f"encoder: expected a mapping, got {_shown(found)}")
    for key, kind in {"backbone": str, "settings": dict, "latents": str, "projection": int}.items():
        if type(found.get(key)) is not kind:
            _refuse(key, {str: "text", dict: "a mapping", int: "a whole number"}[kind], found)
    if not 0 <= found["projection"] < 2**31:
        _refuse("projection", "a width", found)
    shape: Any = found.get("input_shape")
    ok = isinstance(shape, list) and len(shape) == 3 and all(map(_is_width, shape))
    if not ok or math.prod(shape) > LARGEST_IMAGE:
        _refuse("input_shape", f"[C, H, W] of at most {LARGEST_IMAGE:,} values", found)
    _check_layout(found)
    names = found["latents"].split("+")
    if len(set(names)) < len(names):
        _refuse("latents", "each name once", found)
    return found


def _check_layout(found: Mapping[str, Any]) -> None:
    """Raise unless the layout is of slices that follow one another from 0."""
    layout, roles = found.get("layout"), found.get("roles", {})
    if layout is not None and not (isinstance(layout, dict) and layout):
        _refuse("layout", "name -> [start, stop], or null", found)
    end = 0
    for name, place in (layout or {}).items():
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            _refuse("layout", f"printable names of at most {LONGEST_NAME} characters", found)
        ok = isinstance(place, list) and len(place) == 2 and all(type(n) is int for n in place)
        if not ok or place[0] != end or not end < place[1] <= MOST_LATENTS:
            raise InputError(
                f"layout: {name}: expected [{end}, stop], after the slice before it, with stop "
                f"from {end + 1} to {MOST_LATENTS}, got {_shown(place)}"
            )
        end = place[1]
    known = layout or {}
    if not isinstance(roles, dict) or not all(
        name in known and isinstance(role, str) for name, role in roles.items()
    ):
        _refuse("roles", "name of a slice -> its role", found)


def _is_width(value: object) -> bool:
    return type(value) is int and 0 < value <= LARGEST_IMAGE


def _refuse(key: str, expected: str, found: Mapping[str, Any]) -> None:
    got = _shown(found[key]) if key in found else "nothing"
    raise InputError(f"{key}: expected {expected}, got {got}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_weights(weights: Mapping[str, Tensor], network: nn.Module) -> None:
    """Raise unless these are the weights of a network, which may be without memory of its own.

    Args:
        weights: by name.
        network: made on the device ``meta`` or elsewhere.

    Raises:
        InputError: names the first that is missing, superfluous or of another shape or kind.
    """
    expected = network.state_dict()
    for problem, names in (
        ("lacks", [name for name in expected if name not in weights]),
        ("has unknown", [name for name in weights if name not in expected]),
    ):
        if names:
            raise InputError(f"{problem} weights: {some(names)[:200]}")
    for name, own in expected.items():
        given = weights[name]
        if given.shape != own.shape or given.dtype.is_floating_point != own.dtype.is_floating_point:
            raise InputError(
                f"{name}: expected {own.dtype} {list(own.shape)}, got "
                f"{given.dtype} {list(given.shape)}"
            )
