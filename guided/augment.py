"""Random deformations of training images, batched and on the device of the images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from guided import free_form
from guided.affine import AFFINE, affine, warp
from guided.deformations import Deformations, root
from guided.errors import blaming
from guided.ranges import Checked, Count, NonNegative, PositiveShare, Share

COLOURS = ("brightness", "contrast", "saturation")
CONTROLS = 4  # control points of the elastic warp, along each side


@dataclass(frozen=True)
class Deformed:
    """Deformed images, and the amounts by which each was deformed.

    Attributes:
        images: ``[views * B, C, H, W]``: one view of every image, then the next; 0 outside.
        amounts: name -> ``[views * B]``: affine deformations, in the units and with the signs of
            :mod:`guided.affine` (``scale`` includes the crop); ``thickness``; the factors of the
            colours, less 1.
    """

    images: Tensor
    amounts: Mapping[str, Tensor]


@dataclass(frozen=True)
class Augmentation(Checked):
    """Random deformations of training images, each image by its own, uniform within limits.

    Crop, flip and colour are for natural images, after torchvision's ``RandomResizedCrop`` (of
    square crops), ``RandomHorizontalFlip`` and ``ColorJitter`` (in this order).

    Args:
        rotation: largest angle in either direction, degrees.
        scale: largest change of size in either direction, log of a factor.
        shear: largest slope in either direction.
        translation: largest shift along each axis, in half image widths.
        views: copies of each image in a batch, each deformed on its own; for guidance that
            compares them.
        crop: smallest share of the image's area that is cut out, at a random place, and enlarged
            to the whole, in (0, 1]; 1: no crop.
        flip: mirror left and right with probability 1/2.
        brightness, contrast, saturation: largest change of the factor from 1, in [0, 1].
        elastic: largest shift, in half image widths, of each of 4 × 4 control points, between
            which a smooth warp is interpolated (after Simard et al. 2003).
        thickness: largest step from the image towards its dilation or erosion by 3×3 pixels, in
            [0, 1]: strokes become thicker or thinner.
        learned: a file of deformations that were learned (:class:`guided.Deformations`), of which
            each image meets one besides; null: none.
        strength: factor of the learned deformations.

    Raises:
        InputError: a limit is out of its range; the file is missing or damaged.
    """

    rotation: NonNegative = 0.0
    scale: NonNegative = 0.0
    shear: NonNegative = 0.0
    translation: NonNegative = 0.0
    views: Count = 1
    crop: PositiveShare = 1.0
    flip: bool = False
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    elastic: NonNegative = 0.0
    thickness: Share = 0.0
    learned: Path | None = None
    strength: NonNegative = 1.0

    def __post_init__(self) -> None:
        if self.learned:
            with blaming("learned"):
                _ = self._root

    @cached_property
    def _root(self) -> Tensor | None:
        """From rows of normal draws to learned deformations; read once."""
        if self.learned is None:
            return None
        return self.strength * root(Deformations.load(self.learned).covariance)

    @property
    def active(self) -> bool:
        """True if images are changed at all."""
        return self._moves or self._colours or self.thickness > 0

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the amounts that are reported: the keys of :attr:`Deformed.amounts`.

        Not those whose direction a mirror image reverses, with ``flip``: whether an image is
        mirrored is not reported.
        """
        moves = {
            "rotation": self.rotation and not self.flip,
            "scale": self.scale or self.crop < 1,
            "shear": self.shear and not self.flip,
            "translation_x": (self.translation or self.crop < 1) and not self.flip,
            "translation_y": self.translation or self.crop < 1,
        }
        others = {name: getattr(self, name) for name in (*COLOURS, "thickness")}
        return tuple(name for name, limit in {**moves, **others}.items() if limit)

    @property
    def _moves(self) -> bool:
        limits = (self.rotation, self.scale, self.shear, self.translation, self.elastic)
        return any(limits) or self.crop < 1 or self.flip or self._learns

    @property
    def _learns(self) -> bool:
        return self.learned is not None and self.strength > 0

    @property
    def _colours(self) -> bool:
        return any((self.brightness, self.contrast, self.saturation))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images of :meth:`deform`, without the amounts."""
        return self.deform(images, generator).images

    def deform(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        alike: bool = False,
        views: int | None = None,
    ) -> "Deformed":
        """Deformed images, and the amounts by which each was deformed.

        Args:
            images: float ``[B, C, H, W]`` in [0, 1], background 0.
            generator: on the images' device.
            alike: deform all images, and all views, by the same amounts.
            views: in place of its own.
        """
        views = self.views if views is None else views
        images = torch.cat([images] * views) if views > 1 else images
        amounts: dict[str, Tensor] = {}
        n = 1 if alike else len(images)  # deformations to draw
        if self.thickness:
            images, amounts["thickness"] = self._thickened(images, n, generator)
        if self._moves:
            images, moved = self._moved(images, n, generator)
            amounts |= moved
        if self._colours:
            images, factors = self._coloured(images, n, generator)
            amounts |= factors
        return Deformed(images, {name: amounts[name].expand(len(images)) for name in self.known})

    def shifts(self, shape: tuple[int, int], n: int, generator: torch.Generator) -> Tensor:
        """Shifts of the pixels' input coordinates by n draws of what moves, ``[n, H, W, 2]``.

        Args:
            shape: height and width of the images that would be moved.
            n: number of draws.
            generator: of the draws.
        """
        matrix, shifts, _ = self._map(shape, n, generator)
        grid = F.affine_grid(matrix, [n, 1, *shape], align_corners=False)
        moved = grid - free_form.places(*shape).to(grid)
        return moved if shifts is None else moved + shifts

    def _moved(
        self, images: Tensor, n: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        height, width = images.shape[2:]
        matrix, shifts, amounts = self._map((height, width), n, generator)
        moved = warp(images, matrix, shifts)
        return moved.contiguous(memory_format=torch.channels_last), amounts

    def _map(
        self, shape: tuple[int, int], n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Affine maps ``[n, 2, 3]``, shifts besides ``[n, H, W, 2]``, and the maps' amounts."""
        amount = 2 * _uniform(5, n, generator) - 1
        angle = math.radians(self.rotation) * amount[0]
        log_size = self.scale * amount[1]
        shear = self.shear * amount[2]
        right, down = self.translation * amount[3], self.translation * amount[4]
        mirror = torch.ones_like(log_size)
        if self.crop < 1 or self.flip:
            chance = _uniform(4, n, generator)
            side = (self.crop + (1 - self.crop) * chance[0]).sqrt()
            log_size = log_size + side.log()
            right = right + (1 - side) * (2 * chance[1] - 1)
            down = down + (1 - side) * (2 * chance[2] - 1)
            mirror = torch.where(self.flip & (chance[3] < 0.5), -mirror, mirror)
        amounts: dict[str, Tensor] = dict(
            zip(AFFINE, (angle, log_size, shear, right, down), strict=True)
        )
        columns = torch.stack([mirror, torch.ones_like(mirror), torch.ones_like(mirror)], 1)
        matrix = affine(**amounts) * columns.unsqueeze(1)
        shifts = self._elastic_shifts(shape, n, generator) if self.elastic else None
        if self._learns:
            learned = self._learned_shifts(shape, n, generator)
            shifts = learned if shifts is None else shifts + learned
        return matrix, shifts, amounts

    def _elastic_shifts(self, shape: tuple[int, int], n: int, generator: torch.Generator) -> Tensor:
        """Smooth shifts for every pixel, ``[n, H, W, 2]``."""
        points = 2 * _uniform(2 * CONTROLS**2, n, generator) - 1
        field = self.elastic * points.T.reshape(n, 2, CONTROLS, CONTROLS)
        smooth = F.interpolate(field, shape, mode="bicubic", align_corners=True)
        return smooth.permute(0, 2, 3, 1)

    def _learned_shifts(self, shape: tuple[int, int], n: int, generator: torch.Generator) -> Tensor:
        """Shifts by learned deformations, one a draw, ``[n, H, W, 2]``."""
        assert self._root is not None
        size, device = (n, free_form.N_COEFFICIENTS), generator.device
        draws = torch.randn(size, generator=generator, device=device)
        return free_form.shifts(draws @ self._root.to(draws), *shape)

    def _thickened(
        self, images: Tensor, n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        amount = self.thickness * (2 * _uniform(1, n, generator)[0] - 1)
        step = amount[:, None, None, None]
        dilated = F.max_pool2d(images, 3, 1, 1)
        eroded = -F.max_pool2d(-images, 3, 1, 1)
        return torch.lerp(images, torch.where(step > 0, dilated, eroded), step.abs()), amount

    def _coloured(
        self, images: Tensor, n: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        limits = images.new_tensor([self.brightness, self.contrast, self.saturation])
        amount = 2 * _uniform(3, n, generator) - 1
        factors = (1 + limits[:, None] * amount)[..., None, None, None]
        brightness, contrast, saturation = factors.unbind(0)
        images = (images * brightness).clamp(0, 1)
        mean = _grey(images).mean((1, 2, 3), keepdim=True)
        images = torch.lerp(mean, images, contrast).clamp(0, 1)
        images = torch.lerp(_grey(images).expand_as(images), images, saturation).clamp(0, 1)
        return images, dict(zip(COLOURS, (limits[:, None] * amount).unbind(0), strict=True))


def _uniform(k: int, n: int, generator: torch.Generator) -> Tensor:
    """k draws from [0, 1) for each of n images, ``[k, n]``."""
    return torch.rand(k, n, generator=generator, device=generator.device)


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601, as torchvision's, ``[B, 1, H, W]``; images of one channel are grey."""
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)
