"""Strokes, random alphabets of characters made of them, and their rendering as pixels.

A character consists of up to ``N_STROKES`` strokes. Each is one of its alphabet's shapes, put into
a cell of the unit square and perhaps moved to touch an earlier stroke. x points to the right,
y down.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

N_STROKES = 4  # in a character, at most
N_SAMPLES = 25  # points on a stroke; smooth enough for large images
N_SHAPES = 7  # of an alphabet, including the random ones
N_RANDOM = 2
N_WAYPOINTS = 4  # of a random shape
N_TRIES = 6  # at a character that differs from the others of its alphabet
VISIBLE = 2.5  # Euclidean distance at 28 x 28, ink 1 on 0, at which characters differ
MAX_CHARACTERS = 30  # of an alphabet; with more, the tries could fail

# Shapes common to many scripts, as waypoints in the unit square of a curve or a chain of lines.
# Rotated and mirrored, C is also U, L is also 7, and 6 is also 9.
SHAPES = (
    ((0.5, 0), (0.5, 1)),  # bar
    ((0, 0), (1, 1)),  # slash
    ((1, 0.05), (0.25, 0.15), (0, 0.5), (0.25, 0.85), (1, 0.95)),  # C
    ((0, 0), (0.05, 0.95), (1, 1)),  # L
    ((0, 0), (0.5, 1), (1, 0)),  # V
    ((0, 0), (1, 0.05), (0, 0.95), (1, 1)),  # Z
    ((0.9, 0.1), (0.2, 0.1), (0.2, 0.45), (0.8, 0.55), (0.8, 0.9), (0.1, 0.9)),  # S
    ((0, 0.1), (0.8, 0.1), (0.8, 0.4), (0.3, 0.5), (0.8, 0.6), (0.8, 0.9), (0, 0.9)),  # 3
    ((0.7, 0), (0.7, 0.7), (0.4, 1), (0, 0.75)),  # J
    ((0, 1), (0, 0.2), (0.5, 0), (1, 0.2), (1, 1)),  # n
    ((0.5, 0), (0, 0.2), (0, 0.8), (0.5, 1), (1, 0.8), (1, 0.2), (0.5, 0)),  # O
    ((0.9, 0), (0.2, 0.3), (0, 0.75), (0.4, 1), (0.8, 0.75), (0.5, 0.5), (0.1, 0.65)),  # 6
    ((0, 1), (0.7, 0.6), (0.8, 0.1), (0.45, 0), (0.35, 0.5), (0.5, 0.9), (1, 0.9)),  # l
)

DOT = (0.06, 0.06)  # anything drawn this small looks like a dot
# Cells of a character's strokes: (left, top, width, height), the main stroke first.
LAYOUTS = (
    ((0.0, 0.0, 1.0, 1.0),),
    ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0)),
    ((0.0, 0.0, 0.4, 1.0), (0.4, 0.0, 0.6, 0.55)),
    ((0.5, 0.0, 0.5, 1.0), (0.0, 0.45, 0.5, 0.55)),
    ((0.0, 0.0, 1.0, 0.55), (0.0, 0.55, 1.0, 0.45)),
    ((0.0, 0.3, 1.0, 0.7), (0.2, 0.0, 0.6, 0.2)),
    ((0.0, 0.2, 1.0, 0.8), (0.47, 0.0, *DOT)),
    ((0.0, 0.0, 1.0, 1.0), (0.2, 0.3, 0.6, 0.4)),
    ((0.0, 0.0, 0.45, 1.0), (0.45, 0.0, 0.55, 0.5), (0.45, 0.5, 0.55, 0.5)),
    ((0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)),
    ((0.0, 0.2, 1.0, 0.8), (0.25, 0.0, *DOT), (0.65, 0.0, *DOT)),
    ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 0.5), (0.75, 0.8, *DOT)),
    ((0.0, 0.0, 0.4, 1.0), (0.3, 0.4, 0.4, 0.2), (0.6, 0.0, 0.4, 1.0)),
    ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)),
)
_COUNTS = torch.tensor([len(cells) for cells in LAYOUTS])
_CELLS = torch.zeros(len(LAYOUTS), N_STROKES, 4)
for _row, _cells in zip(_CELLS, LAYOUTS, strict=True):
    _row[: len(_cells)] = torch.tensor(_cells)


def interpolation(n_waypoints: int, curved: float) -> Tensor:
    """The matrix that maps waypoints to the points of a stroke.

    Args:
        n_waypoints: at least 2.
        curved: 0 for straight lines, 1 for a Catmull-Rom spline; in between, their weighted mean.

    Returns:
        ``[N_SAMPLES, n_waypoints]``.
    """
    position = torch.linspace(0, n_waypoints - 1, N_SAMPLES)
    start = position.floor().clamp(max=n_waypoints - 2).long()
    t = (position - start).unsqueeze(1)
    # Waypoints -1 and n extrapolate the first and the last step.
    unit = torch.eye(n_waypoints)
    padded = torch.cat([2 * unit[:1] - unit[1:2], unit, 2 * unit[-1:] - unit[-2:-1]])
    before, here, there, after = (padded[start + k] for k in range(4))
    lines = here + t * (there - here)
    # here + c1 t + c2 t² + c3 t³, with slopes (there - before) / 2 and (after - here) / 2
    c1 = (there - before) / 2
    c2 = before - 2.5 * here + 2 * there - after / 2
    c3 = (after - before + 3 * (here - there)) / 2
    spline = here + t * (c1 + t * (c2 + t * c3))
    return lines + curved * (spline - lines)


def _resampled(points: Tensor) -> Tensor:
    """A stroke ``[N_SAMPLES, 2]``, resampled to steps of equal length."""
    length = torch.cat([torch.zeros(1), points.diff(dim=0).norm(dim=1).cumsum(0)])
    wanted = torch.linspace(0, float(length[-1]), N_SAMPLES)
    after = torch.searchsorted(length, wanted).clamp(1, N_SAMPLES - 1)
    step = (wanted - length[after - 1]) / (length[after] - length[after - 1])
    return torch.lerp(points[after - 1], points[after], step.unsqueeze(1))


def _oriented(points: Tensor, orientation: int) -> Tensor:
    """Points ``[..., 2]`` of the unit square under one of its eight symmetries, 0 … 7."""
    if orientation & 1:
        points = points.flip(-1)
    mirrored = torch.tensor([bool(orientation & 2), bool(orientation & 4)])
    return torch.where(mirrored, 1 - points, points)


def sample_shapes(curved: float, g: torch.Generator) -> Tensor:
    """Draw the shapes of an alphabet.

    Most are common ones, rotated; the last ``N_RANDOM`` are random walks from one side to the
    other.

    Returns:
        ``[N_SHAPES, N_SAMPLES, 2]`` in the unit square.
    """
    common = torch.randperm(len(SHAPES), generator=g)[: N_SHAPES - N_RANDOM]
    turns = torch.randint(8, (N_SHAPES,), generator=g).tolist()
    waypoints = [torch.tensor(SHAPES[i], dtype=torch.float32) for i in common.tolist()]
    for _ in range(N_RANDOM):
        wander = torch.rand(N_WAYPOINTS, 2, generator=g)
        wander[:, 0] = torch.linspace(0, 1, N_WAYPOINTS) + 0.3 * (wander[:, 0] - 0.5)
        waypoints.append(wander)
    return torch.stack(
        [
            _oriented(_resampled(interpolation(len(points), curved) @ points), turn)
            for points, turn in zip(waypoints, turns, strict=True)
        ]
    )


def lengths(strokes: Tensor) -> Tensor:
    """The lengths ``[...]`` of strokes ``[..., p, 2]``."""
    steps: Tensor = strokes.diff(dim=-2).norm(dim=-1)
    return steps.sum(-1)


def compose(shapes: Tensor, layout: Tensor, joined: Tensor) -> tuple[Tensor, Tensor]:
    """Put the strokes of characters into their cells and join them.

    Args:
        shapes: ``[n, N_STROKES, p, 2]``, the shape of each stroke in the unit square.
        layout: int64 ``[n]``, indices into ``LAYOUTS``.
        joined: bool ``[n, N_STROKES]``, True for strokes to be moved to start on an earlier one.

    Returns:
        strokes: ``[n, N_STROKES, p, 2]``, mostly within the unit square.
        present: bool ``[n, N_STROKES]``, True for the strokes that the layout has.
    """
    cells = _CELLS[layout]
    corner, extent = cells[..., :2], cells[..., 2:]
    strokes = corner.unsqueeze(2) + extent.unsqueeze(2) * shapes
    joined = joined & (extent.amin(2) > max(DOT))
    rows = torch.arange(len(strokes))
    done = strokes[:, :1]
    for s in range(1, N_STROKES):
        stroke = strokes[:, s]
        # A joined stroke begins at the start, the middle or the end of an earlier one.
        ends = done[:, :, [0, done.shape[2] // 2, -1]].flatten(1, 2)
        steps = ends - stroke[:, :1]
        nearest = steps[rows, steps.norm(dim=-1).argmin(1)]
        stroke = stroke + (nearest * joined[:, s, None]).unsqueeze(1)
        done = torch.cat([done, stroke.unsqueeze(1)], 1)
    return done, torch.arange(N_STROKES) < _COUNTS[layout, None]


@dataclass(frozen=True)
class Alphabet:
    """The style that the characters of an alphabet share.

    Attributes:
        shapes: ``[N_SHAPES, N_SAMPLES, 2]``, in the unit square.
        preference: ``[N_SHAPES]``, weight of each shape as a second or later stroke.
        layouts: ``[len(LAYOUTS)]``, weight of each layout.
        joined: fraction of the strokes that touch an earlier one.
        box: ``[2]``, width and height of the unit square in image sides.
    """

    shapes: Tensor
    preference: Tensor
    layouts: Tensor
    joined: float
    box: Tensor

    @classmethod
    def sample(cls, g: torch.Generator) -> "Alphabet":
        """Draw a random alphabet."""
        curved, joined, size, aspect, single = torch.rand(5, generator=g).tolist()
        shapes = sample_shapes(min(1.0, 2 * curved), g)
        layouts = torch.rand(len(LAYOUTS), generator=g).pow(3)
        layouts[0] = 0.4 * single * layouts[1:].sum()  # the first is a single stroke
        return cls(
            shapes=shapes,
            # Long strokes would clutter the room that the main one leaves.
            preference=torch.rand(N_SHAPES, generator=g) / lengths(shapes).pow(3),
            layouts=layouts,
            joined=0.3 + 0.7 * joined,
            box=(0.45 + 0.22 * size) * torch.tensor([0.75 + 0.35 * aspect, 1.1 - 0.35 * aspect]),
        )

    def sample_characters(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the alphabet's first n characters, each visibly different from those before.

        Args:
            uniform: ``[n, N_TRIES, N_STROKES, 2]``, uniform random numbers in [0, 1).

        Returns:
            strokes: ``[n, N_STROKES, N_SAMPLES, 2]`` in image sides.
            present: bool ``[n, N_STROKES]``, True for the strokes to draw.
        """
        n = len(uniform)
        uniform = uniform.flatten(0, 1)
        shape = _quantile(self.preference, uniform[..., 0])
        # The main shapes take turns, so the number that would choose one chooses the layout.
        shape[:, 0] = torch.arange(n).repeat_interleave(N_TRIES) % N_SHAPES
        layout = _quantile(self.layouts, uniform[:, 0, 0])
        strokes, present = compose(self.shapes[shape], layout, uniform[..., 1] < self.joined)
        strokes = strokes * self.box
        chosen = _first_unlike(strokes, present)
        return strokes[chosen], present[chosen]


def _first_unlike(strokes: Tensor, present: Tensor) -> list[int]:
    """For each character, the first of its tries that differs visibly from those chosen before.

    If none does, the try that differs most.
    """
    drawn = torch.where(present[..., None, None], strokes, strokes[:, :1])
    middle = (drawn.amax((1, 2), keepdim=True) + drawn.amin((1, 2), keepdim=True)) / 2
    looks = render(28 * (drawn - middle), torch.full((len(drawn),), 1.6), 28).flatten(1) / 255
    difference = torch.cdist(looks, looks).clamp(max=VISIBLE)
    chosen = [0]
    for first in range(N_TRIES, len(drawn), N_TRIES):
        least = difference[first : first + N_TRIES, chosen].amin(1).tolist()
        chosen.append(first + least.index(max(least)))
    return chosen


def _quantile(weight: Tensor, uniform: Tensor) -> Tensor:
    """Indices into ``weight``, in proportion to it, for uniform numbers in [0, 1)."""
    limits = (weight / weight.sum()).cumsum(0)
    index: Tensor = torch.searchsorted(limits, uniform.contiguous(), right=True)
    return index.clamp(max=len(weight) - 1)  # by rounding, the last limit may be below 1


def render(strokes: Tensor, thickness: Tensor, size: int, memory: int = 1 << 16) -> Tensor:
    """Render strokes: ink where the centre of a pixel is within half a thickness of one.

    Args:
        strokes: ``[n, s, p, 2]``, lines through p points, in pixels from the middle of the image.
        thickness: ``[n]`` in pixels.
        size: side of an image in pixels.
        memory: numbers in a temporary array; the default fits into a processor's cache, which is
            several times faster than a larger one.

    Returns:
        uint8 ``[n, 1, size, size]``, ink 255 on 0; the ramp between them is one pixel wide.
    """
    step = max(1, memory // (strokes.shape[2] * size * size))
    images = []
    for i in range(0, len(strokes), step):
        some, width = strokes[i : i + step], thickness[i : i + step]
        nearest = torch.stack([squared_distance(stroke, size) for stroke in some.unbind(1)])
        distance = nearest.amin(0).clamp(min=0).sqrt()
        ink = (0.5 + width[:, None, None] / 2 - distance).clamp(0, 1)
        images.append((255 * ink).round().to(torch.uint8))
    return torch.cat(images).unsqueeze(1)


def squared_distance(stroke: Tensor, size: int) -> Tensor:
    """Squared distance ``[n, size, size]`` of each pixel's centre to strokes ``[n, p, 2]``.

    The point of the segment a … a + d that is nearest to x is a + t d, where t is
    (x - a)·d / |d|², kept in [0, 1]; its squared distance is |x - a|² + t (t |d|² - 2 (x - a)·d).
    Both products are sums over the two axes, so they are made of arrays of one axis.
    """
    step = stroke.diff(dim=1).unsqueeze(3)  # [n, segments, 2, 1]
    away = torch.arange(size) - (size - 1) / 2 - stroke[:, :-1].unsqueeze(3)
    along_x, along_y = (away * step).unbind(2)  # [n, segments, size]
    x, y = away.square().unbind(2)
    length2 = step.square().sum(2, keepdim=True).clamp(min=1e-9)
    along = along_y.unsqueeze(3) + along_x.unsqueeze(2)  # [n, segments, size, size]
    t = (along / length2).clamp_(0, 1)
    # In place, because allocating memory can take longer than the arithmetic.
    distance = along.mul_(-2).addcmul_(t, length2).mul_(t).add_(y.unsqueeze(3)).add_(x.unsqueeze(2))
    return distance.amin(1)
