"""``Flow``: water that flows from a hole in a cup with a ball."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from fewshot.data.causal.dataset import CausalDataset
from fewshot.data.causal.scene import Canvas, painted

CUP, TOP = (3.0, 8.0), 19.0  # the walls' places, and their height
WALL, HOLE = 0.55, 0.4  # thickness of walls, ground and jet; height of the hole
BED = 5.0  # the water's level at height 0
FLOOR = 0.5  # on which the ball lies, and on which the jet's distance is measured
GRAVITY = 0.98
RAW = (1.0, 3.9)  # range of the height without the ball
N_POINTS = 12  # of the jet's parabola
BRIGHT, MIDDLE, DIM = 255, 190, 120  # ball; cup and ground; water


class Flow(CausalDataset):
    """A ball raises the water in a cup; height and hole cause the distance that a jet reaches.

    Source: the data of CausalVAE (Yang et al. 2021, arXiv:2004.08697), from their equations.
    Factors, in units of the scene, which is 20 wide: ``radius`` of the ball, 1/6 … 34/30; ``hole``,
    its height, 2 … 14/3; ``height`` of the water, radius³ and a uniform number between 1 and 3.9;
    ``distance`` from the cup, √(2 · 0.98 · height · (hole - 0.5)). :attr:`graph` says which causes
    which. A class is a cell of radius and hole.

    Differs from the source: factors are drawn from continuous ranges, where there is a grid of
    8,100 images, and are not cut to whole numbers; the jet is drawn without noise, which moves it
    by up to a hundredth there; images are grey, 0 background.

    Args:
        root, images, size, split, seed: see :class:`CausalDataset`.
    """

    name: ClassVar[str] = "flow"
    causes: ClassVar[Mapping[str, tuple[float, float]]] = {
        "radius": (1 / 6, 34 / 30),
        "hole": (2.0, 14 / 3),
    }

    @property
    def graph(self) -> dict[str, tuple[str, ...]]:
        return {"radius": (), "hole": (), "height": ("radius",), "distance": ("hole", "height")}

    def factors(self, causes: Mapping[str, Tensor], noise: Tensor) -> dict[str, Tensor]:
        """All four.

        Args:
            causes: ``radius`` and ``hole``, each ``[n]``.
            noise: of the height, uniform in [0, 1), ``[n]``.
        """
        radius, hole = causes["radius"], causes["hole"]
        height = radius**3 + RAW[0] + (RAW[1] - RAW[0]) * noise
        return {
            "radius": radius,
            "hole": hole,
            "height": height,
            "distance": _distance(height, hole),
        }

    def counterfactual(
        self, factors: Mapping[str, Tensor], name: str, values: Tensor
    ) -> dict[str, Tensor]:
        after = {**factors, name: values}
        if name == "radius":
            after["height"] = factors["height"] - factors["radius"] ** 3 + values**3
        if name != "distance":
            after["distance"] = _distance(after["height"], after["hole"])
        return after

    def render(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Images uint8 ``[n, 1, size, size]``.

        Args:
            factors: all four, each ``[n]``; they need not be those of one scene.
        """
        canvas = Canvas(self.size, left=0.0, bottom=0.0, side=20.0)
        radius, hole = factors["radius"], factors["hole"]
        left, right = CUP
        middle = torch.full_like(radius, (left + right) / 2)
        walls = [
            canvas.box((x - WALL / 2, x + WALL / 2), y)
            for x, y in ((left, (0.0, TOP)), (right, (0.0, hole)), (right, (hole + HOLE, TOP)))
        ]
        return painted(
            (DIM, canvas.box(CUP, (0.0, BED + factors["height"]))),
            (DIM, canvas.line(_jet(hole, factors["distance"]), WALL)),
            *((MIDDLE, wall) for wall in walls),
            (MIDDLE, canvas.box((0.0, 20.0), (0.0, WALL))),
            (BRIGHT, canvas.disc(middle, radius + FLOOR, radius)),
        )


def _distance(height: Tensor, hole: Tensor) -> Tensor:
    return (2 * GRAVITY * height * (hole - FLOOR)).sqrt()


def _jet(hole: Tensor, distance: Tensor) -> Tensor:
    """Points ``[n, p, 2]`` of the parabola from the hole to the place where the jet lands."""
    share = torch.linspace(0, 1, N_POINTS).to(hole)  # of the distance; the fall is its square
    fall = (hole - FLOOR)[:, None] * share.square()
    x = CUP[1] + distance[:, None] * share
    return torch.stack([x, hole[:, None] - fall], 2)
