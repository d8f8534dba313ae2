"""Torchvision's classification networks."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from guided.backbones.base import ImageShape
from guided.backbones.foreign.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Deviations,
    Foreign,
    Means,
    Size,
    Weights,
)
from guided.errors import InputError
from guided.ranges import Count


class Torchvision(Foreign):
    """A classification network of torchvision, without its last layer.

    Args:
        input_shape: (C, H, W) of the images.
        model: its name, such as ``resnet18``; ``torchvision.models.list_models()`` has them.
        weights: a file with its state dict (``.pth`` or ``.safetensors``), where ``{seed}`` stands
            for a study's seed; ``random``, drawn by the seed; ``download``: torchvision's own, from
            the network, into torch's cache.
        mean: of each channel, subtracted from images in [0, 1]; by default ImageNet's.
        std: of each channel, by which the rest is divided; by default ImageNet's.
        size: height and width in pixels to which images are resized, or ``[height, width]``; null:
            as they are.
        channels: 3 repeats grey images over the colours; null: images must be in colour.
        head: name of the layer that is left out; ``auto``: the last linear one.

    Raises:
        InputError: no such model, the weights are not its own, or images are grey and ``channels``
            does not say 3.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        model: str,
        weights: Weights,
        mean: Means = IMAGENET_MEAN,
        std: Deviations = IMAGENET_STD,
        size: Size | None = 224,
        channels: Count | None = None,
        head: str = "auto",
    ) -> None:
        if channels is None and input_shape[0] != 3:
            raise InputError(
                f"Torchvision.channels: {model} reads colour images, these have {input_shape[0]} "
                "channel; channels: 3 repeats grey ones"
            )
        super().__init__(
            input_shape,
            lambda: _network(model, weights == "download"),
            weights=weights,
            mean=mean,
            std=std,
            size=size,
            channels=channels,
            head=head,
            model=model,
        )
        if self.settings["head"] == "none" and head != "none":
            raise InputError(
                f"Torchvision.head: {model} does not end in a linear layer; name the layer that is "
                "left out, such as classifier.1"
            )

    @classmethod
    def code(cls, settings: Mapping[str, Any]) -> str:
        import torchvision

        return f"torchvision {torchvision.__version__}"


def _network(model: str, download: bool) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        from difflib import get_close_matches

        close = get_close_matches(model, known, 3) or known[:3]
        raise InputError(f"Torchvision.model: no model is called {model!r}; {', '.join(close)} are")
    # Their default initialisation is slow, and says that it will change.
    quick: dict[str, Any] = (
        {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    )
    try:
        network: nn.Module = models.get_model(
            model, weights="DEFAULT" if download else None, **({} if download else quick)
        )
    except OSError as error:
        raise InputError(
            f"Torchvision.weights: {model}'s cannot be downloaded ({error}); get the file by other "
            f"means and give its path"
        ) from error
    return network
