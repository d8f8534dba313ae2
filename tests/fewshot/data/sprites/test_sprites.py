"""Sprites, against areas, moments and symmetries that are known."""

import math

import pytest
import torch

from fewshot.data import Sprites
from fewshot.data.sprites.factors import (
    CLASS_NAMES,
    FACTORS,
    LEVELS,
    N_SPRITES,
    SpriteFactors,
    class_parts,
    grid_factors,
)
from fewshot.data.sprites.render import AREA, MARGIN, RADIUS, render

SQUARE, ELLIPSE, HEART = range(3)


@pytest.fixture(scope="module")
def grid():
    return grid_factors()


@pytest.fixture(scope="module")
def some(grid):
    """300 rows of the grid, drawn at random."""
    return grid.rows(torch.randint(N_SPRITES, (300,), generator=torch.Generator().manual_seed(0)))


def draw(shape, scale=1.0, degrees=0.0, x=0.5, y=0.5, size=64):
    values = torch.tensor([[shape, scale, math.radians(degrees), x, y]], dtype=torch.float64)
    return render(values, size)[0, 0].float() / 255


def test_the_grid_is_that_of_dsprites(grid):
    assert len(grid) == math.prod(LEVELS) == 737_280
    assert grid.levels[:3].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 2]]
    assert grid.levels[-1].tolist() == [2, 5, 39, 31, 31]
    assert grid.values[0].tolist() == [0, 0.5, 0, 0, 0]
    torch.testing.assert_close(
        grid.values[-1], torch.tensor([2, 1, math.radians(351), 1, 1]).double()
    )


@pytest.mark.parametrize("size", [32, 64])
def test_area_and_centre_of_mass_are_those_of_the_factors(some, size):
    images = render(some.values, size)[:, 0].double() / 255
    mass = images.sum((1, 2))
    area = AREA * (RADIUS * size * some.values[:, 1]).square()
    torch.testing.assert_close(mass, area, rtol=1.5 / size, atol=0)  # corners are cut
    along = torch.arange(size) + 0.5
    for column, axis in ((3, 1), (4, 2)):
        centre = images.sum(axis) @ along.double() / mass
        expected = size * (MARGIN + (1 - 2 * MARGIN) * some.values[:, column])
        torch.testing.assert_close(centre, expected, rtol=0, atol=0.1)


def test_shapes(some):
    square, ellipse, heart = (draw(shape) for shape in range(3))
    side = math.sqrt(AREA) * RADIUS * 64
    assert (square.amax(0) > 0.5).sum() == (square.amax(1) > 0.5).sum() == round(side)
    wide, high = ellipse.amax(0).sum(), ellipse.amax(1).sum()
    assert float(wide) == pytest.approx(2 * RADIUS * 64, abs=1)
    assert float(high) == pytest.approx(RADIUS * 64, abs=1)
    # A heart is symmetric from side to side, has a notch in the middle above, and a tip below.
    torch.testing.assert_close(heart, heart.flip(1), rtol=0, atol=0.01)
    top = (heart > 0.5).float().argmax(0)
    assert top[31] > top[25]
    inked = (heart > 0.5).any(1).nonzero()
    assert heart[inked[-1]].sum() < 3 < heart[inked[0]].sum()
    assert ((heart > 0.05) & (heart < 0.95)).any(), "edges are smooth"
    assert render(some.values, 32).flatten(1).amax(1).min() == 255


@pytest.mark.parametrize(("shape", "period"), [(SQUARE, 90), (ELLIPSE, 180), (HEART, 360)])
def test_a_shape_looks_the_same_after_its_period_and_only_then(shape, period):
    first = draw(shape, degrees=9)
    for degrees in range(18, 369, 9):
        difference = (draw(shape, degrees=degrees) - first).abs().max()
        same = (degrees - 9) % period == 0
        assert (difference < 0.01) if same else (difference > 0.2), degrees


def test_turned_clockwise_and_moved():
    turned = torch.rot90(draw(HEART), -1)
    torch.testing.assert_close(draw(HEART, degrees=90), turned, rtol=0, atol=0.01)
    step = 1 / (64 * (1 - 2 * MARGIN))  # a pixel
    moved = draw(HEART).roll((-2, 3), (0, 1))
    again = draw(HEART, x=0.5 + 3 * step, y=0.5 - 2 * step)
    torch.testing.assert_close(again, moved, rtol=0, atol=0.01)


def test_images_of_both_sizes_agree_and_depend_on_their_factors_alone(some):
    large, small = (render(some.values, size).float() / 255 for size in (64, 32))
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    assert (pooled - small).abs().mean() < 0.005
    assert (pooled - small).abs().max() < 0.35
    alone = torch.cat([render(row[None], 32) for row in some.values[:40]])
    assert torch.equal(alone, render(some.values, 32, memory=4096)[:40])
    border = torch.cat([large[..., [0, -1], :].flatten(1), large[..., [0, -1]].flatten(1)], 1)
    assert border.max() == 0


def test_images_of_a_class_look_alike_when_they_are_centred(grid):
    """Classes: 45° of orientation, modulo the shape's period; so any two such drawings are a turn
    of less than 45° apart, and classes of a shape and scale never share a drawing."""
    centred = (grid.levels[:, 3:] == 16).all(1).nonzero().squeeze(1)
    shown = grid.rows(centred)
    labels, images = shown.classes(), render(shown.values, 32).flatten(1).float() / 255
    assert labels.unique().numel() == len(CLASS_NAMES) == 84
    assert labels.bincount().tolist() == 12 * [20] + 24 * [10] + 48 * [5]
    for label, level in zip(labels.tolist(), shown.levels.tolist(), strict=True):
        shape, scale = CLASS_NAMES[label].split("/")[:2]
        assert shape == ("square", "ellipse", "heart")[level[0]]
        assert scale == f"scale{0.5 + level[1] / 10:.1f}"
    same_drawing = torch.cdist(images, images) < 0.1
    same_class = labels[:, None] == labels
    assert same_class[same_drawing].all()


def test_orientations_of_dsprites_have_classes_too():
    """Its 40 orientations run from 0 to a full turn, which looks like none."""
    orientation = torch.linspace(0, 2 * math.pi, 40, dtype=torch.float64)
    levels = torch.zeros(40, 5, dtype=torch.int64)
    levels[:, 0] = HEART
    values = levels.double()
    values[:, 2] = orientation
    labels = SpriteFactors(levels, values).classes()
    names = [CLASS_NAMES[label] for label in labels.tolist()]
    assert names[0] == names[-1] == "heart/scale0.5/from000"
    assert [name[-3:] for name in names[1::5]] == [
        *("000", "045", "090", "135", "180", "225", "270", "315")
    ]


def test_splits_hold_out_combinations(same):
    splits = Sprites(images=3000, size=32).splits()
    banks = list(vars(splits).values())
    names = [set(bank.class_names) for bank in banks]
    assert len(set.union(*names)) == sum(map(len, names)) == 84
    assert [len(n) for n in names] == list(Sprites().class_counts().values()) == [49, 14, 21]
    assert sum(len(bank) for bank in banks) == 3000
    for bank in banks:
        assert (bank.labels.diff() >= 0).all() and bank.class_sizes.min() > 0
        assert bank.attributes["shape"].unique().tolist() == [0, 1, 2], "every shape is in each"
    start = splits.train.images.data_ptr()
    assert splits.validation.images.data_ptr() == start + len(splits.train) * 32**2, "views"
    assert same(Sprites(images=3000, size=32).splits(), splits)
    other = Sprites(images=3000, size=32, seed=1).splits()
    assert other.train.class_names != splits.train.class_names
    assert class_parts(0).bincount().tolist() == class_parts(1).bincount().tolist()


def test_images_held_out_leave_factors_independent(listed):
    dataset = Sprites(images=4000, size=32, split="images")
    banks = list(vars(dataset.splits()).values())
    assert [len(bank) for bank in banks] == [2400, 800, 800]
    assert all(bank.n_classes == 84 for bank in banks)
    listed(dataset, "generated", 84, 4000)
    dataset.download()  # does nothing
    factors = torch.stack([banks[0].factors[name].double() for name in FACTORS])
    assert (torch.corrcoef(factors) - torch.eye(5)).abs().max() < 0.08
    for bank in banks:
        again = render(torch.stack([bank.factors[n].double() for n in FACTORS], 1), 32)
        assert (again.int() - bank.images.int()).abs().max() <= 1, "factors are those of the image"
        assert torch.equal(bank.attributes["shape"], bank.factors["shape"])
        assert torch.equal(bank.attributes["scale"].float() / 10 + 0.5, bank.factors["scale"])
    seen = torch.cat(
        [torch.stack([bank.attributes[n] for n in FACTORS], 1) for bank in banks]
    ).unique(dim=0)
    assert len(seen) == 4000, "no sprite is drawn twice"
