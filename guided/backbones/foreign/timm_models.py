"""The networks of timm, which is optional."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from guided.backbones.base import ImageShape
from guided.backbones.foreign.base import Deviations, Foreign, Means, Size, Weights
from guided.errors import InputError, importing
from guided.ranges import Count


class Timm(Foreign):
    """A network of timm (``pip install "guided-fewshot[timm]"``), without its last layer.

    Args:
        input_shape: (C, H, W) of the images.
        model: its name, such as ``vit_small_patch16_224``; ``timm.list_models()`` has them.
        weights: as of :class:`.Torchvision`; ``download`` takes timm's own, from the network.
        mean: of each channel, subtracted from images in [0, 1]; null: timm's for this model.
        std: of each channel, by which the rest is divided; null: timm's for this model.
        size: height and width in pixels to which images are resized, or ``[height, width]``; null:
            timm's for this model.
        channels: 3 repeats grey images over the colours; null: images must be in colour.
        head: name of the layer that is left out; ``auto``: the linear layer that comes last.

    Raises:
        InputError: timm is not installed; as of :class:`.Torchvision`.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        *,
        model: str,
        weights: Weights,
        mean: Means | None = None,
        std: Deviations | None = None,
        size: Size | None = None,
        channels: Count | None = None,
        head: str = "auto",
    ) -> None:
        usual = _usual(model)
        if channels is None and input_shape[0] != 3:
            raise InputError(
                f"Timm.channels: {model} reads colour images, these have {input_shape[0]} channel; "
                "channels: 3 repeats grey ones"
            )
        _, height, width = usual["input_size"]
        super().__init__(
            input_shape,
            lambda: _network(model, weights == "download"),
            weights=weights,
            mean=usual["mean"] if mean is None else mean,
            std=usual["std"] if std is None else std,
            size=(height, width) if size is None else size,
            channels=channels,
            head=head,
            model=model,
        )

    @classmethod
    def code(cls, settings: Mapping[str, Any]) -> str:
        return f"timm {_timm().__version__}"


def _timm() -> Any:
    with importing("timm", "Timm"):
        import timm
    return timm


def _usual(model: str) -> dict[str, Any]:
    """The input size, mean and standard deviation that timm has for a model."""
    if not _timm().is_model(model):  # a name such as hf-hub:… would ask the network
        close = _timm().list_models(f"*{model.partition('_')[0]}*")[:3]
        raise InputError(
            f"Timm.model: no model is called {model!r}; timm.list_models() has "
            f"{', '.join(close) or 'all'}"
        )
    from timm.data.config import resolve_data_config

    found: dict[str, Any] = resolve_data_config(
        {}, pretrained_cfg=_timm().get_pretrained_cfg(model).to_dict()
    )
    return found


def _network(model: str, download: bool) -> nn.Module:
    try:
        network: nn.Module = _timm().create_model(model, pretrained=download)
    except (OSError, RuntimeError) as error:
        raise InputError(f"Timm.weights: {model}'s cannot be loaded ({error})") from error
    return network
