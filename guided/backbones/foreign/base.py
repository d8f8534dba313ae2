"""The base class of networks from elsewhere: normalisation, input size, the layer that is read."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from guided.backbones.base import Backbone, ImageShape
from guided.backbones.batch_norm import BatchNorm1d, BatchNorm2d
from guided.backbones.foreign.weights import load_weights
from guided.errors import InputError
from guided.ranges import Count, Positive, Share

Weights = Literal["random", "download"] | Path | str
Size = Count | tuple[Count, Count]
Means = Sequence[Share]
Deviations = Sequence[Positive]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

STORED = "stored"
"""The word for weights that the encoder's own file holds."""

LONGEST_SIDE = 4096
"""Pixels: an encoder's file may state any size."""

AT_ONCE = 2**23
"""Input values of a batch: 55 colour images of 224 × 224, for which VGG takes 1.4 GB."""


class Foreign(Backbone):
    """A network from elsewhere; features are what its last layer reads.

    Images in [0, 1] are resized (bilinear, with antialiasing), repeated over the channels if they
    are grey, and normalised: less the mean, divided by the standard deviation. Features that have
    places, ``[B, F, h, w]``, are averaged over them.

    A subclass makes the network and hands its own settings to this constructor.

    Args:
        input_shape: (C, H, W) of the images.
        make: makes the network, with random weights.
        weights: a file, ``random``, or ``download`` where the subclass can.
        mean: of each channel, subtracted, or one for all.
        std: of each channel, > 0, by which the rest is divided, or one for all.
        size: height and width in pixels of the network's input; null: that of the images.
        channels: that the network reads: 3 repeats grey images; null: as many as the images have.
        head: name of the last layer, which is left out; ``auto``: the linear layer whose output is
            the network's, if there is one; ``none``: the output is the features.
        settings: the subclass's own.

    Raises:
        InputError: a setting is out of range; the network cannot read the images; the weights are
            not its own.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        input_shape: ImageShape,
        make: Callable[[], nn.Module],
        *,
        weights: Weights,
        mean: Means,
        std: Deviations,
        size: Size | None,
        channels: Count | None,
        head: str,
        **settings: Any,
    ) -> None:
        if weights not in ("random", "download", STORED):
            weights = Path(weights)
        sides = (size, size) if isinstance(size, int) else size and (size[0], size[1])
        super().__init__(
            input_shape,
            mean=list(mean),
            std=list(std),
            size=sides and list(sides),
            channels=channels,
            **settings,
        )
        self.channels = self._checked_channels(channels, input_shape[0])
        for key, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, self.channels):
                self._refuse(
                    key, f"one number, or one for each of {self.channels} channels", values
                )
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        if sides and max(sides) > LONGEST_SIDE:
            self._refuse("size", f"at most {LONGEST_SIDE} pixels", size)
        self.size = sides or (input_shape[1], input_shape[2])
        self.network = make().eval()
        head = self._cut(head)
        self.settings["head"] = head
        self.feature_dim = self._features().shape[1]
        if isinstance(weights, Path):
            load_weights(self.network, weights, None if head == "none" else head)
        _take_group_statistics(self.network)

    @classmethod
    def rebuilt(cls, input_shape: ImageShape, settings: dict[str, Any]) -> Self:
        return cls(input_shape, **(settings | {"weights": STORED}))

    @property
    def batch_size(self) -> int:
        return max(1, AT_ONCE // (self.channels * math.prod(self.size)))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2:] != self.size:
            images = interpolate(images, self.size, mode="bilinear", antialias=True)
        read: Tensor = (images - self.mean) / self.std
        read = read.expand(-1, self.channels, -1, -1)
        features: Tensor = self.network(read)
        return features.mean((2, 3)) if features.ndim == 4 else features

    def decoder(self, latent_dim: int) -> nn.Module:
        raise InputError(
            f"{type(self).__name__}: has no decoder and cannot be pretrained; choose another "
            "backbone, or make it an arm's encoder"
        )

    def _refuse(self, key: str, expected: str, got: object) -> None:
        raise InputError(f"{type(self).__name__}.{key}: expected {expected}, got {got}")

    def _checked_channels(self, channels: Count | None, there: int) -> int:
        if channels is not None and (channels < 1 or there not in (1, channels)):
            self._refuse("channels", f"{there}, those of the images", channels)
        return channels or there

    def _cut(self, head: str) -> str:
        """Leave the last layer out; return its name, or ``none``."""
        if head == "auto":
            head = self._last_linear() or "none"
        if head != "none":
            try:
                self.network.set_submodule(head, nn.Identity(), strict=True)
            except (AttributeError, ValueError):
                names = [name for name, _ in self.network.named_children()]
                known = ", ".join(["auto", "none", *names])
                self._refuse("head", f"the name of a layer, such as {known}", head)
        return head

    def _last_linear(self) -> str | None:
        """Name of the linear layer whose output is the network's."""
        outputs: dict[str, Any] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda _module, _inputs, output: outputs.update({name: output})

        layers = [(n, m) for n, m in self.network.named_modules() if isinstance(m, nn.Linear)]
        hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers]
        result = self._answer()
        for hook in hooks:
            hook.remove()
        return next((name for name, output in outputs.items() if output is result), None)

    @torch.no_grad()
    def _answer(self) -> Any:
        """The network's output for one black image."""
        black = torch.zeros(1, self.channels, *self.size)
        try:
            return self.network(black)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            reason = " ".join(str(error).split())[:160]
            repeat = " (channels: 3 repeats grey images)" if self.channels == 1 else ""
            raise InputError(
                f"{type(self).__name__}: the network cannot read images of "
                f"{list(black.shape[1:])}: {reason}; set size or channels{repeat}"
            ) from error

    def _features(self) -> Tensor:
        found = self._answer()
        if not isinstance(found, Tensor) or found.ndim not in (2, 4):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            self._refuse("head", "a layer before which features are [B, F] or [B, F, h, w]", shape)
        return found


def _take_group_statistics(network: nn.Module) -> None:
    """Give batch norm the policies of learners; its weights and its arithmetic stay."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = BatchNorm2d
        elif type(module) is nn.BatchNorm1d:
            module.__class__ = BatchNorm1d
