"""Random deformations of training images: batched, on the device, a function of the generator."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Deform every training image by its own random affine map, uniform within these limits.

    Args:
        rotation: largest angle, degrees either way.
        scale: largest change of size, as the log of a factor.
        shear: largest slope.
        translation: largest shift along each axis, in half image widths.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    translation: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return any((self.rotation, self.scale, self.shear, self.translation))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Deformed images, bilinear, 0 outside.

        Args:
            images: float ``[B, C, H, W]``, background 0.
            generator: on the images' device.
        """
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
