"""Labelled images for training, and their batches: each a function of the seed and the step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from guided.seeds import generator


@dataclass(frozen=True)
class LabelledImages:
    """A training or validation set for this half: no episodes, no class names.

    Attributes:
        images: uint8 ``[N, C, H, W]``.
        targets: attribute -> int64 ``[N]``; -1: unknown.
    """

    images: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def categories(self) -> dict[str, int]:
        """How many values each attribute takes."""
        return {name: int(values.max()) + 1 for name, values in self.targets.items()}

    def to(self, device: torch.device) -> "LabelledImages":
        targets = {name: values.to(device) for name, values in self.targets.items()}
        return LabelledImages(self.images.to(device), targets)


class Batches:
    """Batch ``step`` of an endless pass: a function of (seed, step), no short batch.

    Args:
        n: images.
        batch_size: images a batch; what is left of them at a pass' end is skipped.
        seed: of the orders.
        device: where the row numbers go.
        shuffle: another order each pass; else 0, 1, 2 …, so that the same images are skipped.
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
