"""Weights that other programs wrote: state dicts of PyTorch, and safetensors."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guided.errors import InputError
from guided.readers.regular import check_regular
from guided.readers.torch_files import LEGACY_BEGIN, check_torch_file

INSIDE = ("state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which training programs keep the state dict beside other things."""

ZIP, LEGACY = b"PK\x03\x04", LEGACY_BEGIN
"""The first bytes of what ``torch.save`` writes, today and before version 1.6."""


class UnusedWeightsWarning(UserWarning):
    """A file of weights holds some that the network has no place for."""


def is_pytorch_file(path: Path | str) -> bool:
    """True if ``torch.save`` wrote the file, by its first bytes."""
    try:
        check_regular(path)
        with Path(path).open("rb") as file:
            start = file.read(len(LEGACY))
    except OSError:
        return False
    return start == LEGACY or start.startswith(ZIP)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU; nothing but tensors and plain values is unpickled.

    Args:
        path: a ``.safetensors`` file, or one that ``torch.save`` wrote: a state dict, or a
            checkpoint that holds one under ``state_dict`` or ``model``.

    Raises:
        InputError: the file is missing, cannot be read or holds no state dict.
    """
    from safetensors.torch import load_file

    try:
        check_regular(path)
        if is_pytorch_file(path):
            check_torch_file(path)
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            found = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file of weights") from error
    except InputError:
        raise
    except Exception as error:  # a damaged file raises one of many kinds
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as weights ({reason[:120]})") from error
    return _state_dict(found, path)


def _state_dict(found: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, from the file's content or from inside it."""
    if isinstance(found, Mapping):
        for key in INSIDE:
            if isinstance(found.get(key), Mapping):
                return _state_dict(found[key], path)
        tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
    raise InputError(
        f"{path}: expected a state dict (name -> tensor), or a checkpoint that holds one under "
        f"{', '.join(INSIDE)}; found {type(found).__name__}"
    )


def load_weights(network: nn.Module, path: Path, left_out: str | None) -> None:
    """Fill a network with a file's weights; each of its own must be there.

    A prefix that all names of the file share, such as ``module.``, is removed.

    Args:
        network: without its last layer.
        path: of the weights.
        left_out: name of the layer that was removed, whose weights are not needed.

    Raises:
        InputError: weights are missing, or have other shapes.

    Warns:
        UnusedWeightsWarning: the file holds others besides.
    """
    expected = network.state_dict()
    given = _without_prefix(read_weights(path), expected, path)
    if left_out:
        given = {k: v for k, v in given.items() if not k.startswith(f"{left_out}.")}
    needed = [k for k in expected if not k.endswith("num_batches_tracked") or k in given]
    missing = [k for k in needed if k not in given]
    if missing:
        raise InputError(
            f"{path}: lacks {_some(missing)} of {type(network).__name__}, which has "
            f"{len(expected)} weights; it has {_some(list(given))}"
        )
    for key in needed:
        if given[key].shape != expected[key].shape:
            raise InputError(
                f"{path}: {key} has shape {list(given[key].shape)}, "
                f"{type(network).__name__} expects {list(expected[key].shape)}"
            )
    unused = [k for k in given if k not in expected]
    if unused:
        warnings.warn(
            f"{path}: {_some(unused)} have no place in {type(network).__name__} and are not used",
            UnusedWeightsWarning,
            stacklevel=2,
        )
    network.load_state_dict({k: given[k] for k in needed}, strict=False)


def _without_prefix(
    given: dict[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    if not expected or any(key in given for key in expected):
        return given
    first = next(iter(expected))
    prefixes = [key.removesuffix(first) for key in given if key.endswith(f".{first}")]
    # A network's blocks may hold a weight of the same name further in.
    prefixes = [p for p in prefixes if not any(p != q and p.startswith(q) for q in prefixes)]
    if len(prefixes) > 1:
        raise InputError(
            f"{path}: holds several networks ({', '.join(prefixes)}); write one to a file"
        )
    for prefix in prefixes:
        given = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
    return given


def _some(names: list[str], n: int = 2) -> str:
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more
