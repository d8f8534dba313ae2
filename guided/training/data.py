"""Labelled images for training, and their batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from guided.errors import InputError
from guided.latents import FACTOR
from guided.seeds import generator


@runtime_checkable
class Images(Protocol):
    """Images with labels: an image bank, or :class:`LabelledImages`."""

    @property
    def images(self) -> Tensor:
        """uint8 ``[N, C, H, W]``."""

    def targets(self) -> Mapping[str, Tensor]:
        """Attribute -> int64 ``[N]``; -1: unknown. The class is the attribute ``class``.
        ``factor NAME`` -> float ``[N]``; NaN: unknown."""


@dataclass(frozen=True)
class LabelledImages:
    """A set of images with any number of labels each.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: attribute -> int64 ``[N]``; -1: unknown. By convention the class is ``class``.
            ``factor NAME`` -> float ``[N]``, a quantity in units of its own; NaN: unknown.
    """

    images: Tensor
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_images(source: Images, name: str = "images") -> "LabelledImages":
        """Images with their labels, the values of each attribute renumbered 0 … without gaps.

        Factors stay as they are.

        Args:
            source: images and labels.
            name: of the caller's argument, for the message.

        Raises:
            InputError: the images are not uint8 ``[N, C, H, W]``; their labels are of another
                number.
        """
        if not isinstance(source, Images):
            raise InputError(
                f"{name}: expected an image bank or LabelledImages, got {type(source).__name__}"
            )
        images = source.images
        if images.dtype != torch.uint8 or images.ndim != 4:
            embeddings = "; embeddings are no images" if images.shape[2:] == (1, 1) else ""
            raise InputError(
                f"{name}: expected uint8 images [N, C, H, W], got {images.dtype} "
                f"{list(images.shape)}{embeddings}"
            )
        labels = source.targets()
        for attribute, values in labels.items():
            if len(values) != len(images):
                raise InputError(
                    f"{name}: {len(values)} labels of {attribute!r} for {len(images)} images"
                )
        return LabelledImages(images, {k: numbered(v) for k, v in labels.items()})

    def targets(self) -> Mapping[str, Tensor]:
        return self.labels

    def categories(self) -> dict[str, int]:
        """Number of values of each attribute."""
        return {
            name: int(values.max()) + 1
            for name, values in self.labels.items()
            if not values.is_floating_point()
        }

    def scales(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each factor, ``NAME`` -> both, where it is known.

        Factors of fewer than two known values are left out.
        """
        scales = {}
        for name, values in self.labels.items():
            known = values[~values.isnan()].double() if values.is_floating_point() else values[:0]
            if known.unique().numel() > 1:
                scales[name.removeprefix(FACTOR)] = float(known.mean()), float(known.std())
        return scales

    def to(self, device: torch.device) -> "LabelledImages":
        labels = {name: values.to(device) for name, values in self.labels.items()}
        return LabelledImages(self.images.to(device), labels)


def numbered(values: Tensor) -> Tensor:
    """Labels ``[N]`` renumbered 0 … without gaps, in the same order; -1 where they are negative.

    Quantities, which are not whole numbers, are returned as they are.
    """
    if values.is_floating_point():
        return values
    known = values >= 0
    renumbered = torch.full_like(values, -1)
    renumbered[known] = values[known].unique(return_inverse=True)[1].to(values.dtype)
    return renumbered


class Batches:
    """Endless shuffled batches of row numbers; batch ``step`` is a function of (seed, step).

    Args:
        n: number of images.
        batch_size: images in a batch; the rest at the end of a pass is skipped.
        seed: of the orders.
        device: of the row numbers.
        shuffle: draw a new order for each pass; false: 0, 1, 2 … in every pass.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, device: torch.device, *, shuffle: bool = True
    ) -> None:
        self.n, self.batch_size, self.seed, self.device = n, batch_size, seed, device
        self.shuffle = shuffle
        self.per_epoch = n // batch_size
        self._epoch = -1
        self._order = torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        """Row numbers, int64 ``[batch_size]``."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._new_order(epoch).to(self.device), epoch
        start = position * self.batch_size
        return self._order[start : start + self.batch_size]

    def _new_order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.n)
        # Drawn on the CPU: the order is the same on every device.
        return torch.randperm(self.n, generator=generator(self.seed, "batches", epoch))
