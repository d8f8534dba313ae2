"""Random deformations of training images: batched, on the device, a function of the generator."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from guided.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Deform every training image by its own random affine map, uniform within these limits.

    Args:
        rotation: largest angle, degrees either way.
        scale: largest change of size, as the log of a factor.
        shear: largest slope.
        translation: largest shift along each axis, in half image widths.
        views: copies of each image in a batch, each deformed on its own; for guidance that
            compares them.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    views: int = 1

    def __post_init__(self) -> None:
        if self.views < 1:
            raise InputError(f"views: expected at least 1, got {self.views}")

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return any((self.rotation, self.scale, self.shear, self.translation))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Deformed images ``[views * B, C, H, W]``, one view of all after the other; 0 outside.

        Args:
            images: float ``[B, C, H, W]``, background 0.
            generator: on the images' device.
        """
        images = torch.cat([images] * self.views) if self.views > 1 else images
        if not self.active:
            return images
        amount = 2 * torch.rand(5, len(images), generator=generator, device=images.device) - 1
        angle = math.radians(self.rotation) * amount[0]
        size = (self.scale * amount[1]).exp()
        shear, right, down = (
            self.shear * amount[2],
            self.translation * amount[3],
            self.translation * amount[4],
        )
        cos, sin = angle.cos() * size, angle.sin() * size
        rows = [cos, shear * cos - sin, right, sin, shear * sin + cos, down]
        matrix = torch.stack(rows, 1).view(-1, 2, 3)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        deformed = F.grid_sample(images, grid, align_corners=False)
        return deformed.contiguous(memory_format=torch.channels_last)
