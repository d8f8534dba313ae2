"""Random deformations, read back from images whose pixels say where they are."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation

from guided import Augmentation, InputError

N = 16
AXIS = (torch.arange(N) + 0.5) * 2 / N - 1  # half image widths
RAMPS = torch.stack([AXIS.expand(N, N), AXIS[:, None].expand(N, N)])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def maps(augmentation, rows=2000):
    """The affine map ``[rows, 2, 3]`` from output to input that each image met.

    Bilinear interpolation of a ramp is exact, so a deformed ramp says where its pixels came from.
    """
    deformed = augmentation(RAMPS.expand(rows, 2, N, N), rng())
    middle = slice(N // 2 - 2, N // 2 + 2)  # far from where the outside fades in
    x, y = RAMPS[:, middle, middle].flatten(1).double().numpy()
    design = np.stack([x, y, np.ones_like(x)], 1)
    found = deformed[..., middle, middle].flatten(2).double().numpy()
    return found @ np.linalg.pinv(design).T


def assert_uniform(values, limit):
    assert np.abs(values).max() <= limit * (1 + 1e-4)
    assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3


def test_nothing_is_the_default_and_draws_nothing():
    images, chance = torch.rand(2, 1, N, N), rng()
    assert not Augmentation().active
    assert Augmentation()(images, chance) is images
    assert torch.equal(chance.get_state(), rng().get_state())


@pytest.mark.parametrize("channels", [1, 3])
def test_alike_is_what_one_image_alone_would_meet(channels):
    limits = dict.fromkeys(("scale", "shear", "translation", "elastic"), 0.1)
    limits |= dict.fromkeys(("crop", "thickness", "brightness", "contrast", "saturation"), 0.5)
    everything = Augmentation(rotation=20, flip=True, **limits)
    images = torch.rand(5, channels, N, N)
    found = everything.deform(images, rng(), alike=True)
    for i in range(5):
        alone = everything.deform(images[i : i + 1], rng())
        torch.testing.assert_close(found.images[i : i + 1], alone.images)
        for name, amounts in found.amounts.items():
            assert amounts[i] == alone.amounts[name][0] != 0
    assert not torch.allclose(found.images, images, atol=0.1)


def test_views_are_copies_deformed_on_their_own():
    images = torch.rand(3, 1, N, N)
    assert torch.equal(Augmentation(views=2)(images, rng()), torch.cat([images, images]))
    augmentation = Augmentation(rotation=20, shear=0.2, views=2)
    found = augmentation(images, rng())
    first, second = found.chunk(2)
    assert not torch.isclose(first, second).all((1, 2, 3)).any()
    assert torch.equal(found, augmentation(images, rng()))
    assert not torch.equal(found, augmentation(images, rng(1)))
    assert found.min() >= 0 and found.max() <= 1 + 1e-6


def test_amounts_are_uniform_and_independent():
    augmentation = Augmentation(rotation=25, scale=0.2, shear=0.3, translation=0.15)
    amounts = augmentation.deform(RAMPS.expand(2000, 2, N, N), rng()).amounts.values()
    for values, limit in zip(amounts, (math.radians(25), 0.2, 0.3, 0.15, 0.15), strict=True):
        assert_uniform(values.numpy(), limit)
    assert np.abs(np.corrcoef(torch.stack(list(amounts))) - np.eye(5)).max() < 5 / 2000**0.5


def test_crops_lie_inside_and_have_the_area_asked_for():
    found = maps(Augmentation(crop=0.25))
    side = found[:, 0, 0]
    assert_uniform(side**2 - 0.625, 0.375)
    np.testing.assert_allclose(found[:, 1, 1], side, atol=1e-4)
    shift = found[:, :, 2] / (1 - side)[:, None]
    assert_uniform(shift[:, 0], 1)
    assert_uniform(shift[:, 1], 1)
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.1


def test_half_of_the_images_are_mirrored():
    images = torch.rand(400, 3, 8, 8)
    flipped = Augmentation(flip=True)(images, rng())
    mirrored = torch.isclose(flipped, images.flip(3), atol=1e-5).flatten(1).all(1)
    same = torch.isclose(flipped, images, atol=1e-5).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert abs(float(mirrored.double().mean()) - 0.5) < 0.1


def test_colours_are_torchvisions():
    images = torch.rand(50, 3, 6, 6)
    augmentation = Augmentation(brightness=0.4, contrast=0.3, saturation=0.2)
    found = augmentation(images, rng())
    amount = 2 * torch.rand(3, 50, generator=rng()) - 1
    factors = 1 + torch.tensor([0.4, 0.3, 0.2]) * amount.T
    for image, expected, (brightness, contrast, saturation) in zip(
        found, images, factors.tolist(), strict=True
    ):
        expected = adjust_contrast(adjust_brightness(expected, brightness), contrast)
        expected = adjust_saturation(expected, saturation)
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-4)
    assert float(amount.abs().max()) > 0.9


@pytest.mark.parametrize(
    ("name", "limit"), [("crop", 0.0), ("contrast", 1.5), ("thickness", 2), ("views", 0)]
)
def test_impossible_limits(name, limit):
    with pytest.raises(InputError, match=rf"^Augmentation\.{name}: expected .*got {limit}"):
        Augmentation(**{name: limit})


def test_what_was_done_to_each_image_is_told():
    """The affine map put together from the amounts is the one that the images met."""
    limits = {"rotation": 25, "scale": 0.2, "shear": 0.3, "translation": 0.1, "crop": 0.6}
    augmentation = Augmentation(**limits, views=2)
    amounts = augmentation.deform(RAMPS.expand(200, 2, N, N), rng()).amounts
    assert tuple(amounts) == ("rotation", "scale", "shear", "translation_x", "translation_y")
    amounts = torch.stack(list(amounts.values()), 1).double().numpy()
    for found, (angle, scale, shear, *shift) in zip(maps(augmentation, 200), amounts, strict=True):
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        linear = turn @ np.array([[1, shear], [0, 1]]) * np.exp(scale)
        np.testing.assert_allclose(found, np.column_stack([linear, shift]), atol=1e-4)


def test_only_what_is_drawn_is_told():
    assert Augmentation().known == ()
    assert Augmentation(flip=True, elastic=0.1).known == ()
    assert Augmentation(crop=0.5).known == ("scale", "translation_x", "translation_y")
    # A mirror image reverses the direction of the others, and is not told.
    moves = {"rotation": 9, "shear": 0.1, "translation": 0.1}
    assert Augmentation(crop=0.5, flip=True, **moves).known == ("scale", "translation_y")
    augmentation = Augmentation(shear=0.1, thickness=0.5, contrast=0.3)
    amounts = augmentation.deform(torch.rand(5, 3, N, N), rng()).amounts
    assert tuple(amounts) == augmentation.known == ("shear", "contrast", "thickness")
    assert amounts["contrast"].abs().max() <= 0.3


def test_an_elastic_warp_is_smooth_and_within_its_limit():
    warped = Augmentation(elastic=0.1)(RAMPS.expand(300, 2, N, N), rng())
    shift = (warped - RAMPS)[..., 3:-3, 3:-3]
    # Bicubic interpolation may overshoot its control points by a quarter along each axis.
    assert 0.05 < shift.abs().max() < 0.1 * 1.25**2
    assert (shift[..., 1:] - shift[..., :-1]).abs().max() < 0.1
    assert shift.std((0, 1)).min() > 0.01
    assert abs(float(shift.mean())) < 0.01


def test_thickness_grows_and_shrinks_strokes():
    image = torch.zeros(1, 1, N, N)
    image[..., 4:12, 6:10] = 1
    augmentation = Augmentation(thickness=0.8)
    result = augmentation.deform(image.expand(500, 1, N, N), rng())
    amount = result.amounts["thickness"]
    assert_uniform(amount.numpy(), 0.8)
    grown, shrunk = result.images[amount > 0], result.images[amount < 0]
    # A pixel beside the stroke, and one at its edge.
    torch.testing.assert_close(grown[:, 0, 8, 5], amount[amount > 0])
    torch.testing.assert_close(shrunk[:, 0, 8, 6], 1 + amount[amount < 0])
    assert torch.equal(result.images[:, 0, 8, 8], torch.ones(500))
