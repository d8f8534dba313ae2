"""The pendulum and the cup, against closed forms and positions measured in their images."""

import math

import pytest
import torch

from fewshot.data import Flow, Pendulum
from fewshot.data.causal.dataset import GRID, class_parts
from fewshot.data.causal.scene import Canvas, painted

SMALL = {"images": 1000, "size": 28}


def values(**factors):
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in factors.items()}


def pendulum(angle, light, **settings):
    return Pendulum(**settings).factors(values(angle=angle, light=light), torch.zeros(len(angle)))


def centres(weights, side, left, bottom):
    """Centre of mass of images ``[n, h, w]``, in units of the scene."""
    size, mass = weights.shape[-1], weights.sum((1, 2))
    along = (torch.arange(size).double() + 0.5) * side / size
    x, y = (weights.sum(1) @ along) / mass, (weights.sum(2) @ along) / mass
    return left + x, bottom + side - y


def test_the_shadow_is_the_projection_of_the_pendulum():
    at = [0.0, 0.0, -0.3, 0.5, 0.2]
    light = [math.pi / 2, math.pi / 4, 1.0, 1.9, 0.3 * math.pi]
    found = pendulum(at, light)
    assert found["length"][:2].tolist() == pytest.approx([3, 9.5])
    assert found["position"][:2].tolist() == pytest.approx([10, 3.75])
    assert pendulum([0.0], [math.pi / 2], min_length=0.0)["length"].item() == pytest.approx(0)
    # The rays that pass the pivot and the ball's far side meet the ground at the shadow's ends.
    for k, (theta, phi) in enumerate(zip(at, light, strict=True)):
        ends = [
            x - (y + 0.5) / math.tan(phi)
            for x, y in ((10, 10.5), (10 + 9.5 * math.sin(theta), 10.5 - 9.5 * math.cos(theta)))
        ]
        assert found["position"][k].item() == pytest.approx(sum(ends) / 2)
        assert found["length"][k].item() == pytest.approx(max(3, abs(ends[1] - ends[0])))
        if k == 4:
            assert ends[0] == pytest.approx(2.01, abs=0.005)
            assert 10 + 10 / math.tan(phi) == pytest.approx(17.27, abs=0.005)


@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_pendulum_is_drawn_where_its_factors_say(size):
    dataset = Pendulum(images=1000, size=size)
    bank = dataset.splits().train
    factors = {name: column.double() for name, column in bank.factors.items()}
    images = bank.images[:, 0].double() / 255
    up = 21 - (torch.arange(size) + 0.5) * 22 / size  # height of a row
    sky, ground = (up > 17)[:, None], (up < 0.5)[:, None]
    sun, _ = centres(images * sky, 22, -1, -1)
    expected = 10 + 10 / factors["light"].tan()
    whole = expected > 2.1  # it is cut off at the left
    assert (sun - expected)[whole].abs().max() < 0.12
    shadow, _ = centres(images * ground, 22, -1, -1)
    inside = factors["position"] + factors["length"] / 2 < 20.9
    assert (shadow - factors["position"])[inside].abs().max() < 0.05
    mass = (images * ground).sum((1, 2)) * (22 / size) ** 2
    area = 120 / 255 * 0.9 * factors["length"]
    torch.testing.assert_close(mass[inside], area[inside], rtol=0.02, atol=0.02)
    ball = (images - 120 / 255).clamp(min=0) * ~sky
    x, y = centres(ball, 22, -1, -1)
    torch.testing.assert_close(x, 10 + 8 * factors["angle"].sin(), rtol=0, atol=0.15)
    torch.testing.assert_close(y, 10.5 - 8 * factors["angle"].cos(), rtol=0, atol=0.15)


def test_the_jet_follows_from_the_balls_size():
    noise = torch.tensor([0.0, 0.5], dtype=torch.float64)
    found = Flow().factors(values(radius=[1.0, 0.5], hole=[2.5, 4.5]), noise)
    assert found["height"].tolist() == pytest.approx([2.0, 0.125 + 2.45])
    assert found["distance"].tolist() == pytest.approx(
        [math.sqrt(2 * 0.98 * 2 * 2), math.sqrt(2 * 0.98 * 2.575 * 4)]
    )


@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_cup_is_drawn_as_its_factors_say(size):
    bank = Flow(images=1000, size=size).splits().train
    factors = {name: column.double() for name, column in bank.factors.items()}
    images = bank.images[:, 0].double() / 255
    pixel = 20 / size
    column = int(3.8 / pixel)  # between the left wall and the ball
    level = (images[:, :, column].sum(1) * pixel - 0.55 * 190 / 255) / (120 / 255) + 0.55
    torch.testing.assert_close(level, 5 + factors["height"], rtol=0, atol=0.05)
    # The farthest ink right of the cup, just above the ground.
    right = images[:, :, int(8.6 / pixel) :] > 0.1
    above = 20 - (torch.arange(size) + 0.5) * pixel > 0.9
    reach = (right & above[:, None]).flip(2).any(1).float().argmax(1)
    reach = 20 - reach * pixel - 8
    assert torch.corrcoef(torch.stack([reach, factors["distance"]]))[0, 1] > 0.95
    assert (reach - factors["distance"]).abs().max() < 0.5 + 2 * pixel
    ball = (images - 200 / 255).clamp(min=0).sum((1, 2))
    grows = torch.corrcoef(torch.stack([ball.sqrt(), factors["radius"]]))[0, 1]
    assert grows > 0.95


def test_boxes_are_exact_and_layers_cover_each_other():
    canvas = Canvas(8, left=0.0, bottom=0.0, side=4.0)
    box = canvas.box((torch.tensor([0.2]), torch.tensor([1.9])), (0.3, 3.5))
    assert box.shape == (1, 8, 8)
    assert box.sum().item() == pytest.approx(4 * 1.7 * 3.2, rel=1e-5)
    disc = canvas.disc(torch.tensor([2.0]), torch.tensor([2.0]), 1.5)
    assert disc.sum().item() == pytest.approx(4 * math.pi * 1.5**2, rel=0.02)
    image = painted((100, torch.ones(1, 8, 8)), (200, box))[0, 0]
    assert image[4, 2] == 200
    assert image[0, 0] == 100


@pytest.mark.parametrize("dataset", [Pendulum, Flow])
def test_splits_hold_out_cells_of_the_causes(dataset, same, listed):
    made = dataset(**SMALL)
    banks = list(vars(made.splits()).values())
    names = [set(bank.class_names) for bank in banks]
    assert len(set.union(*names)) == sum(map(len, names)) == 49
    assert [len(n) for n in names] == list(made.class_counts().values()) == [29, 8, 12]
    assert sum(map(len, banks)) == 1000
    for bank in banks:
        assert bank.class_sizes.min() > 0
        cells = torch.stack(
            [
                (GRID * (bank.factors[name] - low) / (high - low)).long()
                for name, (low, high) in made.causes.items()
            ],
            1,
        )
        first, second = made.causes
        shown = [f"{first}{i}/{second}{j}" for i, j in cells.tolist()]
        assert shown == [bank.class_names[k] for k in bank.labels.tolist()]
        factors = {name: column.double() for name, column in bank.factors.items()}
        again = made.render(factors).int() - bank.images.int()
        assert again.abs().max() <= 1, "factors are those of the image"
    assert same(dataset(**SMALL).splits(), made.splits())
    listed(made, "generated", 49, 1000)
    made.download()  # does nothing
    assert not torch.equal(class_parts(0), class_parts(1))
    assert set(made.graph) == set(banks[0].factors)
    assert all(not made.graph[name] for name in made.causes)


def test_interventions_move_effects_alone_and_keep_the_noise():
    factors = pendulum([0.1, -0.3], [1.2, 1.8])
    new = torch.tensor([1.5, 1.0], dtype=torch.float64)
    after = Pendulum().counterfactual(factors, "light", new)
    again = pendulum([0.1, -0.3], new.tolist())
    assert all(torch.equal(after[name], again[name]) for name in factors)
    moved = Pendulum().counterfactual(factors, "length", new)
    assert [name for name in factors if not torch.equal(moved[name], factors[name])] == ["length"]
    cup, noise = Flow(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    factors = cup.factors(values(radius=[0.5, 0.9], hole=[2.5, 4.0]), noise)
    again = cup.factors(values(radius=[1.0, 0.3], hole=[2.5, 4.0]), noise)
    after = cup.counterfactual(factors, "radius", again["radius"])
    assert all(after[name].tolist() == pytest.approx(again[name].tolist()) for name in factors)
    after = cup.counterfactual(factors, "height", again["height"])
    assert torch.equal(after["radius"], factors["radius"])
    assert after["distance"].tolist() == pytest.approx(again["distance"].tolist())


def test_images_held_out_leave_the_causes_independent():
    banks = list(vars(Pendulum(images=4000, size=28, split="images").splits()).values())
    assert [len(bank) for bank in banks] == [2400, 800, 800]
    assert all(bank.n_classes == 49 for bank in banks)
    assert Pendulum(split="images").class_counts()["test"] == 49
    causes = torch.stack([banks[0].factors[name] for name in ("angle", "light")])
    assert torch.corrcoef(causes)[0, 1].abs() < 0.06
    few = Pendulum(images=1000, size=28, split="images").splits()
    many = torch.cat([bank.factors["angle"] for bank in banks])
    assert torch.isin(few.test.factors["angle"], many).all(), "a larger draw holds a smaller one"
