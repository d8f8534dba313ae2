"""Drawing of simple scenes: boxes, discs and lines of some brightness on black.

Coordinates are those of the scene: x to the right, y up, in its own units. The edge of everything
is a ramp of one pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot.data.glyphs.strokes import squared_distance


@dataclass(frozen=True)
class Canvas:
    """The square of the scene that an image shows.

    Args:
        size: side of the image in pixels.
        left, bottom: the square's corner.
        side: its side, in the scene's units.
    """

    size: int
    left: float
    bottom: float
    side: float

    def box(
        self,
        x: tuple[Tensor | float, Tensor | float],
        y: tuple[Tensor | float, Tensor | float],
    ) -> Tensor:
        """The part of each pixel that upright boxes cover, ``[n, size, size]``, exactly.

        Args:
            x: left and right, each a number or ``[n]``.
            y: bottom and top, likewise.
        """
        across = self._along(x[0], self.left), self._along(x[1], self.left)
        up = self._along(y[0], self.bottom), self._along(y[1], self.bottom)
        return self._covered(*up).flip(1)[:, :, None] * self._covered(*across)[:, None, :]

    def line(self, points: Tensor, width: float) -> Tensor:
        """The coverage ``[n, size, size]`` of lines with round ends.

        Args:
            points: ``[n, p, 2]``, x and y of p points, at least 2.
            width: of the lines.
        """
        return self._around(points, torch.full((len(points),), width / 2))

    def disc(self, x: Tensor, y: Tensor, radius: Tensor | float) -> Tensor:
        """The coverage ``[n, size, size]`` of discs.

        Args:
            x, y: of the centres, ``[n]``.
            radius: a number, or ``[n]``.
        """
        centre = torch.stack([x, y], 1).unsqueeze(1)
        return self._around(centre.expand(-1, 2, -1), torch.as_tensor(radius).expand(len(x)))

    def _around(self, points: Tensor, radius: Tensor) -> Tensor:
        pixels = self.size / self.side
        middle = torch.tensor([self.left, self.bottom]) + self.side / 2
        placed = (points.float() - middle) * torch.tensor([pixels, -pixels])
        distance = squared_distance(placed, self.size).clamp(min=0).sqrt()
        return (0.5 + pixels * radius.float()[:, None, None] - distance).clamp(0, 1)

    def _along(self, value: Tensor | float, start: float) -> Tensor:
        return (torch.as_tensor(value).float().reshape(-1, 1) - start) * self.size / self.side

    def _covered(self, low: Tensor, high: Tensor) -> Tensor:
        """The part of each pixel of a row between two places, ``[n, size]``."""
        pixel = torch.arange(self.size)
        return (torch.minimum(high, pixel + 1) - torch.maximum(low, pixel)).clamp(0, 1)


def painted(*layers: tuple[int, Tensor]) -> Tensor:
    """Images uint8 ``[n, 1, size, size]`` of layers on black, each over those before it.

    Args:
        layers: brightness, 0 … 255, and coverage, ``[n, size, size]`` or ``[1, size, size]``.
    """
    image = torch.zeros(())
    for brightness, coverage in layers:
        image = image + coverage * (brightness - image)
    return image.round().to(torch.uint8).unsqueeze(1)
