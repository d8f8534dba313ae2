"""``EmbeddingBank``: class-labelled embeddings in the place of images."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from guided.backbones.embedded import Embedded
from guided.encoder import Encoder
from guided.errors import InputError

CHECKED = 2**16
"""Rows that are looked through at a time."""


@dataclass(frozen=True)
class EmbeddingBank(ImageBank):
    """Embeddings of several classes, each in the place of an image. Immutable.

    Attributes:
        images: the embeddings, float32 ``[N, d, 1, 1]``.
        parts: name -> (start, stop) of several embeddings of the same images side by side.
    """

    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        features: ArrayLike | Tensor | Mapping[str, ArrayLike | Tensor],
        labels: ArrayLike | Tensor,
        class_names: Sequence[str] | None = None,
    ) -> "EmbeddingBank":
        """The bank of arrays in memory; float32 ones, also memory-mapped, are not copied.

        Args:
            features: ``[N, d]``, or several such by name, which are joined.
            labels: of each row, whole numbers or names, ``[N]``.
            class_names: of the numbers 0 …; null: the numbers themselves.

        Raises:
            InputError: shapes do not agree, or a feature is not finite.
        """
        named = features if isinstance(features, Mapping) else {"features": features}
        tensors = {name: _features(name, values) for name, values in named.items()}
        numbers, names = _labels(labels, class_names)
        for name, values in tensors.items():
            if len(values) != len(numbers):
                raise InputError(
                    f"{name}: {len(values)} rows, but {len(numbers)} labels; expected as many"
                )
        ends = np.cumsum([values.shape[1] for values in tensors.values()]).tolist()
        places = dict(zip(tensors, zip([0, *ends], ends, strict=False), strict=True))
        joined = (
            torch.cat(list(tensors.values()), 1)
            if len(tensors) > 1
            else next(iter(tensors.values()))
        )
        parts = places if len(tensors) > 1 else {}
        return cls(joined[:, :, None, None], numbers, names, parts=parts)

    def _check_images(self) -> None:
        if self.images.dtype != torch.float32 or self.images.shape[2:] != (1, 1):
            raise InputError(
                f"embeddings: expected float32 [N, d, 1, 1], "
                f"got {self.images.dtype} {list(self.images.shape)}"
            )

    @cached_property
    def digest(self) -> str:
        content = hashlib.blake2b(ImageBank.digest.func(self).encode(), digest_size=8)  # type: ignore[attr-defined]
        content.update(repr({k: list(v) for k, v in self.parts.items()}).encode())
        return content.hexdigest()

    @property
    def size(self) -> str:
        return f"{self.n_classes} classes, {len(self)} embeddings of {self.images.shape[1]} numbers"

    def plain_encoder(self) -> Encoder:
        return Encoder(Embedded(self.image_shape, parts=self.parts), None).eval()

    def shown(self, rows: Tensor) -> Tensor:
        """Embeddings as squares of grey values, row by row, uint8 ``[…, 1, s, s]``.

        Black and white are the 2nd and the 98th percentile of the bank's values.
        """
        width = self.images.shape[1]
        side = math.ceil(math.sqrt(width))
        low, high = self._range
        values = self.images[rows].flatten(-3)
        shown = ((values - low) / max(high - low, 1e-12) * 255).clamp(0, 255).to(torch.uint8)
        squares = shown.new_zeros(*rows.shape, side * side)
        squares[..., :width] = shown
        return squares.view(*rows.shape, 1, side, side)

    @cached_property
    def _range(self) -> tuple[float, float]:
        some = self.images[torch.linspace(0, len(self) - 1, min(len(self), 256)).long()]
        low, high = np.percentile(some.numpy(), [2, 98])
        return float(low), float(high)


def _features(name: str, values: ArrayLike | Tensor) -> Tensor:
    """float32 ``[N, d]``, all finite."""
    if not isinstance(values, Tensor):
        array = np.asarray(values) if not isinstance(values, np.ndarray) else values
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name}: expected numbers [N, d], got {array.dtype}")
        values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    values = values.detach().cpu().to(torch.float32)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{name}: expected embeddings [N, d], got {list(values.shape)}")
    bad = [
        start + part.isfinite().all(1).logical_not().nonzero().squeeze(1)
        for start, part in zip(range(0, len(values), CHECKED), values.split(CHECKED), strict=True)
    ]
    rows = torch.cat(bad)
    if len(rows):
        raise InputError(
            f"{name}: {len(rows)} of {len(values)} embeddings are not finite, the first in row "
            f"{int(rows[0])}"
        )
    return values


def _labels(
    labels: ArrayLike | Tensor, class_names: Sequence[str] | None
) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers 0 … without gaps, int64 ``[N]``, and the name of each."""
    array: NDArray[Any] = np.asarray(labels)
    if array.ndim != 1:
        raise InputError(f"labels: expected one for each row, got shape {list(array.shape)}")
    if array.dtype.kind == "f" and (array == np.round(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind == "O":
        array = array.astype(str)
    if array.dtype.kind not in "iubUS":
        raise InputError(f"labels: expected whole numbers or names, got {array.dtype}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    values, numbers = np.unique(array, return_inverse=True)
    names = [str(value) for value in values]
    if class_names is not None:
        if array.dtype.kind not in "iu" or not 0 <= int(values[0]) <= int(values[-1]) < len(
            class_names
        ):
            raise InputError(
                f"class_names: {len(class_names)} names, for labels {names[0]} … {names[-1]}; "
                "expected numbers from 0 that stand for them"
            )
        names = [str(class_names[int(value)]) for value in values]
    return torch.from_numpy(numbers.reshape(-1).astype(np.int64)), tuple(names)
