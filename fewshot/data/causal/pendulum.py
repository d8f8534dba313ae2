"""``Pendulum``: a pendulum, a light, and the shadow that they cause."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewshot.data.causal.dataset import CausalDataset, N, Size, Split
from fewshot.data.causal.scene import Canvas, painted
from fewshot.data.roots import Roots
from guided.ranges import NonNegative, Whole

PIVOT = (10.0, 10.5)
ROD, REACH = 8.0, 9.5  # from the pivot to the ball's centre, and to its far side
BALL, SUN = 1.5, 3.0  # radii
SKY, GROUND = 20.5, -0.5  # heights of the sun and of the shadow
WIDTH = 0.9  # of the rod and of the shadow
BRIGHT, MIDDLE, DIM = 255, 190, 120  # ball; sun; rod and shadow


class Pendulum(CausalDataset):
    """A pendulum, the sun, and the pendulum's shadow; the angle and the light cause the shadow.

    Source: the data of CausalVAE (Yang et al. 2021, arXiv:2004.08697), from their equations.
    Factors: ``angle`` θ of the pendulum, -0.2 π … 0.215 π, > 0 to the right; ``light`` φ, the
    direction to the sun, 0.3 π … 0.735 π, > π / 2 to the left; ``length`` and ``position`` (of the
    middle) of the shadow, in units of the scene, which is 22 wide. :attr:`graph` says which
    causes which. A class is a cell of angle and light.

    Differs from the source: angles are drawn from continuous ranges, where there is a grid of
    7,308 images; factors are exact, not cut to whole numbers; images are grey, 0 background; the
    scene is as wide as it is high.

    Args:
        root, images, size, split, seed: see :class:`CausalDataset`.
        min_length: of the shadow, >= 0; while it holds, the causes cannot be read from the length.
    """

    name: ClassVar[str] = "pendulum"
    causes: ClassVar[Mapping[str, tuple[float, float]]] = {
        "angle": (-0.2 * math.pi, 0.215 * math.pi),
        "light": (0.3 * math.pi, 0.735 * math.pi),
    }

    def __init__(
        self,
        root: Roots | None = None,
        *,
        images: N = 8000,
        size: Size = 32,
        split: Split = "classes",
        seed: Whole = 0,
        min_length: NonNegative = 3.0,
    ) -> None:
        super().__init__(root, images=images, size=size, split=split, seed=seed)
        self.min_length = min_length

    @property
    def graph(self) -> dict[str, tuple[str, ...]]:
        both = ("angle", "light")
        return {"angle": (), "light": (), "length": both, "position": both}

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "min_length": self.min_length}

    def factors(self, causes: Mapping[str, Tensor], noise: Tensor) -> dict[str, Tensor]:
        """All four; the shadow is that of the pivot and of the ball's far side.

        Args:
            causes: ``angle`` and ``light``, each ``[n]``.
            noise: not used: the causes determine the shadow.
        """
        angle, cot = causes["angle"], 1 / causes["light"].tan()
        # Of the two ends' shadows, over REACH: the difference.
        across = angle.sin() + angle.cos() * cot
        return {
            "angle": angle,
            "light": causes["light"],
            "length": (REACH * across.abs()).clamp(min=self.min_length),
            "position": PIVOT[0] - (PIVOT[1] - GROUND) * cot + REACH / 2 * across,
        }

    def counterfactual(
        self, factors: Mapping[str, Tensor], name: str, values: Tensor
    ) -> dict[str, Tensor]:
        after = {**factors, name: values}
        return self.factors(after, values) if name in self.causes else after

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Images uint8 ``[n, 1, size, size]``.

        Args:
            factors: all four, each ``[n]``; they need not be those of one scene.
        """
        canvas = Canvas(self.size, left=-1.0, bottom=-1.0, side=22.0)
        angle, length, position = (factors[name] for name in ("angle", "length", "position"))
        x, y = PIVOT[0] + ROD * angle.sin(), PIVOT[1] - ROD * angle.cos()
        sun = PIVOT[0] + (SKY - PIVOT[1]) / factors["light"].tan()
        end = torch.stack([x, y], 1)
        rod = torch.stack([torch.tensor(PIVOT).to(end).expand_as(end), end], 1)
        on_ground = (GROUND - WIDTH / 2, GROUND + WIDTH / 2)
        return painted(
            (MIDDLE, canvas.disc(sun, torch.full_like(sun, SKY), SUN)),
            (DIM, canvas.line(rod, WIDTH)),
            (BRIGHT, canvas.disc(x, y, BALL)),
            (DIM, canvas.box((position - length / 2, position + length / 2), on_ground)),
        )
