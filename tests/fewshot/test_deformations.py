"""Deformations learned between neighbours: a planted distribution is recovered from its pairs."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fewshot.deformations import DeformationFit, mutual_pairs
from fewshot.learners.free_form_matching import BY_HAND
from guided.affine import AFFINE, affine, warp
from guided.backbones import Pixels
from guided.deformations import covariance_of
from guided.encoder import Encoder
from guided.errors import InputError
from guided.free_form import shifts

SIDE, N = 24, 150
TURN, LEAN = math.radians(10), 0.15  # standard deviations


def strokes(n, seed=0):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(n):
        image = np.zeros((SIDE, SIDE))
        for start, end in rng.uniform(3, SIDE - 4, (4, 2, 2)):
            line = (start + (end - start) * np.linspace(0, 1, 60)[:, None]).round().astype(int)
            image[line[:, 0], line[:, 1]] = 1
        drawn.append(2 * gaussian_filter(image, 0.8).clip(0, 0.5))
    return torch.from_numpy(np.stack(drawn)).float().unsqueeze(1)


@pytest.fixture(scope="module")
def planted():
    """Drawings, then each of them turned and leaning at random."""
    images, rng = strokes(N), torch.Generator().manual_seed(0)
    amounts = {name: torch.zeros(N) for name in AFFINE}
    amounts["rotation"] = TURN * torch.randn(N, generator=rng)
    amounts["shear"] = LEAN * torch.randn(N, generator=rng)
    both = torch.cat([images, warp(images, affine(**amounts))])
    return (255 * both).round().to(torch.uint8)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(Pixels((1, SIDE, SIDE)), None).eval()


@pytest.fixture(scope="module")
def learned(planted, encoder):
    pairs = torch.stack([torch.arange(N), torch.arange(N) + N], 1)
    fit = DeformationFit(rounds=2, keep=1, stiffness=0.02)
    return fit.between(encoder, planted, pairs)


def slopes(covariance):
    """Derivatives of drawn shifts in the middle of the image: d x / d y and d y / d x."""
    values, vectors = torch.linalg.eigh(covariance.double())
    basis = (vectors * values.clamp(min=0).sqrt()).T.float()
    moved = shifts(basis, SIDE, SIDE)
    middle = slice(SIDE // 4, -SIDE // 4)
    part, step = moved[:, middle, middle], 2 / SIDE
    down = (part[:, 1:] - part[:, :-1]).mean((1, 2))[:, 0] / step
    across = (part[:, :, 1:] - part[:, :, :-1]).mean((1, 2))[:, 1] / step
    return down, across


def test_a_planted_distribution_is_recovered(learned):
    """dy/dx is the angle, dx/dy the slope less the angle; nothing else varies as much."""
    down, across = slopes(learned.deformations.covariance)
    assert float(across.norm()) == pytest.approx(TURN, rel=0.25)
    assert float((down + across).norm()) == pytest.approx(LEAN, rel=0.25)
    steps, _ = learned.deformations.principal(3)
    sizes = shifts(steps, SIDE, SIDE).square().sum(3).mean((1, 2))
    assert sizes[0] > 4 * sizes[1:].max()  # turning and leaning, which is two thirds turning


def test_it_is_repeated_to_the_bit_and_depends_on_the_seed(planted, encoder):
    fit = DeformationFit(pairs=20, neighbours=2, rounds=1)
    first, again, other = (fit.learn(encoder, planted, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.deformations.covariance, again.deformations.covariance)
    assert torch.equal(first.pairs, again.pairs)
    assert first.facts["pairs"] == 20
    assert first.facts["kept"] == 10
    assert first.left[first.kept].max() <= first.left[~first.kept].min()
    assert not torch.equal(first.pairs, other.pairs)


def test_where_images_do_not_tell_the_deformations_by_hand_remain():
    """Empty images: the draws are the prior's."""
    empty, encoder = torch.zeros(1000, 1, 8, 8, dtype=torch.uint8), Encoder(Pixels((1, 8, 8)), None)
    pairs = torch.arange(1000).view(2, -1).T
    found = DeformationFit(keep=1, rounds=1).between(encoder, empty, pairs).deformations
    expected = covariance_of(BY_HAND)
    assert (found.aligned - expected).abs().max() < 0.12 * expected.max()


@pytest.mark.parametrize("neighbours", [1, 3])
def test_pairs_are_each_among_the_others_nearest(neighbours):
    codes = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    unit = codes / codes.norm(dim=1, keepdim=True)
    near = []
    for i in range(40):
        cosines = {j: float(unit[i] @ unit[j]) for j in range(40) if j != i}
        near.append(sorted(cosines, key=cosines.get, reverse=True)[:neighbours])
    expected = {(i, j) for i in range(40) for j in near[i] if i in near[j] and i < j}
    found = mutual_pairs(codes, neighbours)
    assert set(map(tuple, found.tolist())) == expected
    assert len(found) == len(expected)


def test_too_few_pairs_are_refused(encoder, planted):
    with pytest.raises(InputError, match="neighbours: 1 nearest ones give 1 pairs of 2 images"):
        DeformationFit(neighbours=1).learn(encoder, planted[[0, N]])
