"""``ImageBank``: class-labelled images as one immutable uint8 array."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from guided.backbones.pixels import Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.html.fragment import Pictures, fragment
from guided.html.images import of_image
from guided.latents import FACTOR

KINDS = ("attributes", "factors")


class Renderer(Protocol):
    """Makes images of any combination of the values of factors."""

    @property
    def n_values(self) -> Mapping[str, int]:
        """Factor -> number of its values."""
        ...

    def __call__(self, numbers: Tensor) -> Tensor:
        """Images uint8 ``[n, C, H, W]``.

        Args:
            numbers: of the factors' values, from 0, int64 ``[n, k]``.
        """
        ...


@dataclass(frozen=True)
class ImageBank:
    """Images of several classes. Immutable.

    Attributes:
        images: uint8 ``[N, C, H, W]``, 0 … 255; C is 1 or 3. The images of a class need not be
            adjacent, but banks read from files are sorted by class.
        labels: int64 ``[N]``, indices into ``class_names``.
        class_names: K unique names.
        attributes: name -> int64 ``[N]``, categorical annotations (alphabet, drawer …).
        factors: name -> float or integer ``[N]``, ground truth of generated images.
        turned: True if classes are turned copies of each other, and so no independent sample.
        renderer: makes further images of the same factors; None where there is none.

    Raises:
        InputError: shapes or dtypes are wrong, or a label is out of range.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    turned: bool = False
    renderer: Renderer | None = None

    def __post_init__(self) -> None:
        self._check_images()
        self._check_columns()

    def _check_images(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                f"images: expected uint8 [N, C, H, W], "
                f"got {self.images.dtype} {list(self.images.shape)}"
            )

    def _check_columns(self) -> None:
        n = len(self.images)
        # Not one mapping: an attribute may have the name of the factor that it bins.
        columns = [("labels", self.labels), *self.attributes.items(), *self.factors.items()]
        for name, column in columns:
            if column.shape != (n,):
                raise InputError(
                    f"{name}: expected one value for each of {n} images, got {list(column.shape)}"
                )
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.n_classes:
            raise InputError(
                f"labels: expected 0 … {self.n_classes - 1}, the indices of class_names, "
                f"got {int(self.labels.min())} … {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def _repr_html_(self) -> str:
        named = [*self.attributes, *(name for name in self.factors if name not in self.attributes)]
        text = f"Known of each: {', '.join(named)}." if named else ""
        return fragment(f"{self.size}.", text, pictures=[self.pictures()])

    @property
    def size(self) -> str:
        """Number of classes, number and shape of images, in words."""
        shape = " × ".join(map(str, self.image_shape))
        return f"{self.n_classes} classes, {len(self)} images of {shape}"

    def pictures(self, name: str = "", n: int = 12) -> Pictures:
        """The first image of some classes, evenly spaced.

        Args:
            name: of the pictures.
            n: their number, at most.
        """
        with_images = self.class_sizes.nonzero().squeeze(1)
        places = torch.linspace(0, len(with_images) - 1, min(n, len(with_images))).long()
        shown = [(c, int((self.labels == c).nonzero()[0])) for c in with_images[places].tolist()]
        images = (
            (self.class_names[c], of_image(self.shown(torch.tensor(i)).numpy())) for c, i in shown
        )
        return Pictures(name, tuple(images))

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @cached_property
    def class_sizes(self) -> Tensor:
        """int64 ``[n_classes]``: number of images of each class."""
        return torch.bincount(self.labels, minlength=self.n_classes)

    @cached_property
    def digest(self) -> str:
        """Short digest of all that the bank holds; equal for equal banks.

        Images, labels, names of classes, attributes, factors, and which of the latter two a column
        is: an attribute may have the name of the factor that it bins.
        """
        columns = {("images", ""): self.images, ("labels", ""): self.labels}
        columns |= {("attribute", name): column for name, column in self.attributes.items()}
        columns |= {("factor", name): column for name, column in self.factors.items()}
        renderer = self.renderer
        facts = {
            "class_names": list(self.class_names),
            "turned": self.turned,
            "renderer": renderer and [str(type(renderer)), list(renderer.n_values.items())],
            # Of equal bytes, those of other types or shapes are other columns.
            "columns": [(*key, str(c.dtype), list(c.shape)) for key, c in sorted(columns.items())],
        }
        hashed = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8)
        for _, column in sorted(columns.items()):
            hashed.update(column.contiguous().numpy().data)
        return hashed.hexdigest()

    def name_of(self, row: int) -> str:
        """An image's place among those of its class, for a message."""
        label = self.labels[row]
        place = int((self.labels[:row] == label).sum())
        return f"image {place} of class {self.class_names[int(label)]!r}"

    def plain_encoder(self) -> Encoder:
        """The encoder without a network, in evaluation mode: pixels as they are."""
        return Encoder(Pixels(self.image_shape), None).eval()

    def shown(self, rows: Tensor) -> Tensor:
        """Images to show, uint8 ``[…, C, H, W]``.

        Args:
            rows: int64 ``[…]``.
        """
        return self.images[rows]

    def targets(self) -> dict[str, Tensor]:
        """For guidance: the labels as ``class`` and the attributes, name -> int64 ``[N]``; factors
        that are no whole numbers, ``factor NAME`` -> float ``[N]``."""
        factors = {
            FACTOR + name: values
            for name, values in self.factors.items()
            if values.is_floating_point()
        }
        return {"class": self.labels, **self.attributes, **factors}

    def classes(self, subset: Sequence[int] | Tensor) -> "ImageBank":
        """The bank of some classes, relabelled 0 … in the order of ``subset``.

        A view if the rows of these classes are contiguous, as those of most splits are; otherwise
        a copy.

        Args:
            subset: indices of classes, ``[k]``.
        """
        chosen = torch.as_tensor(subset, dtype=torch.int64)
        position = torch.full((self.n_classes,), -1)
        position[chosen] = torch.arange(len(chosen))
        rows = (position[self.labels] >= 0).nonzero().squeeze(1)
        names = tuple(self.class_names[i] for i in chosen.tolist())
        bank = self.rows(rows)
        return replace(bank, labels=position[bank.labels], class_names=names)

    @staticmethod
    def join(banks: "Sequence[ImageBank]") -> "ImageBank":
        """One bank of all images, a copy; its classes are sorted by name.

        Classes of the same name are one class. Attributes and factors are those of all banks.

        Args:
            banks: of images of one shape; empty ones are left out.
        """
        banks = [bank for bank in banks if len(bank)] or banks[:1]
        if len(banks) == 1:
            return banks[0]
        names = sorted({name for bank in banks for name in bank.class_names})
        position = {name: i for i, name in enumerate(names)}
        labels = [torch.tensor([position[n] for n in b.class_names])[b.labels] for b in banks]
        shared = [set.intersection(*(set(getattr(b, kind)) for b in banks)) for kind in KINDS]
        attributes, factors = (
            {name: torch.cat([getattr(b, kind)[name] for b in banks]) for name in sorted(in_all)}
            for kind, in_all in zip(KINDS, shared, strict=True)
        )
        return replace(
            banks[0],
            images=torch.cat([bank.images for bank in banks]),
            labels=torch.cat(labels),
            class_names=tuple(names),
            attributes=attributes,
            factors=factors,
            turned=any(bank.turned for bank in banks),
        )

    def rows(self, index: Tensor) -> "ImageBank":
        """The bank of some rows, with all classes; a view if the rows are contiguous.

        Args:
            index: int64 ``[n]``.
        """
        take: slice | Tensor = index
        if len(index) and bool((index.diff() == 1).all()):
            take = slice(int(index[0]), int(index[-1]) + 1)
        return replace(
            self,
            images=self.images[take],
            labels=self.labels[take],
            attributes={name: column[take] for name, column in self.attributes.items()},
            factors={name: column[take] for name, column in self.factors.items()},
        )

    def with_rotations(self) -> "ImageBank":
        """The bank with each class also rotated by 90°, 180° and 270°, as three more classes.

        Source: Santoro et al. (2016), arXiv:1605.06065, §4.1; used by every Omniglot benchmark.
        Classes come in four blocks, upright and each rotation; attributes and factors repeat.
        """
        turns = range(4)
        return ImageBank(
            torch.cat([torch.rot90(self.images, k, (2, 3)) for k in turns]),
            torch.cat([self.labels + k * self.n_classes for k in turns]),
            tuple(
                name if k == 0 else f"{name}/rotated{90 * k}"
                for k in turns
                for name in self.class_names
            ),
            {name: column.repeat(4) for name, column in self.attributes.items()},
            {name: column.repeat(4) for name, column in self.factors.items()},
            turned=True,
        )
