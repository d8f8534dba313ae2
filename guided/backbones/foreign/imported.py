"""Any PyTorch module, by its import path."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from guided.backbones.base import ImageShape
from guided.backbones.foreign.base import STORED, Deviations, Foreign, Means, Size, Weights
from guided.errors import InputError
from guided.ranges import Count


class Imported(Foreign):
    """A module of one's own or of another package, without its last layer if that is linear.

    Args:
        input_shape: (C, H, W) of the images.
        network: import path of a class of ``torch.nn.Module``, such as ``mine.Net``.
        weights: a file with its state dict (``.pth`` or ``.safetensors``), where ``{seed}`` stands
            for a study's seed; ``random``, drawn by the seed.
        mean: of each channel, subtracted from images in [0, 1], or one for all; ``[0]`` and std
            ``[1]`` for a network that normalises by itself.
        std: of each channel, by which the rest is divided, or one for all.
        arguments: of the class's constructor.
        size: height and width in pixels to which images are resized, or ``[height, width]``; null:
            as they are.
        channels: 3 repeats grey images over the colours; null: as many as the images have.
        head: name of the layer that is left out; ``auto``: the linear layer whose output is the
            network's, if there is one; ``none``: the output is the features.

    Raises:
        InputError: no such class, its constructor refuses the arguments, or the weights are not
            its own.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        network: str,
        weights: Weights,
        mean: Means,
        std: Deviations,
        arguments: Mapping[str, Any] | None = None,
        size: Size | None = None,
        channels: Count | None = None,
        head: str = "auto",
    ) -> None:
        if weights == "download":
            raise InputError("Imported.weights: expected a file or random, got download")
        # A file must not choose what is imported: the program or the command has done so.
        module = _module_class(network, load=weights != STORED)
        super().__init__(
            input_shape,
            lambda: _made(module, arguments or {}),
            weights=weights,
            mean=mean,
            std=std,
            size=size,
            channels=channels,
            head=head,
            network=network,
            arguments=dict(arguments or {}),
        )

    @classmethod
    def code(cls, settings: Mapping[str, Any]) -> str:
        """A digest of the file that defines the module."""
        try:
            file = inspect.getsourcefile(_module_class(settings["network"], load=True))
        except TypeError:
            file = None
        if not file or not Path(file).is_file():
            return ""
        return hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()


def _module_class(path: str, *, load: bool) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    if not module:
        raise InputError(f"Imported.network: expected an import path, mine.Net, got {path!r}")
    if load:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise InputError(
                f"Imported.network: no module is called {module!r}; searched the installed "
                f"packages and {here}"
            ) from error
    elif module not in sys.modules:
        raise InputError(
            f"was made by {path}, which is not imported: import it first, "
            f"or name its module with --imports '[{module}]'"
        )
    found = getattr(sys.modules[module], name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"Imported.network: {path} is no class of torch.nn.Module")
    return found


def _made(network: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return network(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"Imported.arguments: {network.__name__}: {error}") from error
