"""Registration finds planted deformations, and the least cost that a general optimiser finds."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fewshot.learners.deformation.distortion import image_features
from fewshot.learners.deformation.registration import explained, register
from guided import Augmentation
from guided.affine import warp
from guided.deformations import covariance_of, root
from guided.free_form import shifts

SIDE, IDENTITY = 20, torch.eye(2, 3).unsqueeze(0)
PRIOR = covariance_of(Augmentation(rotation=20, scale=0.2, shear=0.2, elastic=0.1))


def strokes(n, seed=0):
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(n):
        image = np.zeros((SIDE, SIDE))
        for start, end in rng.uniform(4, SIDE - 5, (3, 2, 2)):
            line = (start + (end - start) * np.linspace(0, 1, 60)[:, None]).round().astype(int)
            image[line[:, 0], line[:, 1]] = 1
        drawn.append(2 * gaussian_filter(image, 1.0).clip(0, 0.5))
    return torch.from_numpy(np.stack(drawn)).float().unsqueeze(1)


@pytest.fixture(scope="module")
def planted():
    """Images, deformations of a prior, and what these make of the images."""
    images = strokes(24)
    normal = torch.randn(len(images), 32, generator=torch.Generator().manual_seed(0))
    coefficients = 0.7 * normal @ root(PRIOR)
    return images, coefficients, warp(images, IDENTITY, shifts(coefficients, SIDE, SIDE))


def test_planted_deformations_are_found_where_there_is_ink(planted):
    images, coefficients, deformed = planted
    found = register(deformed[:, None], images[:, None], PRIOR, stiffness=0.01, gradients=2.0)
    ours, theirs = (shifts(c, SIDE, SIDE) for c in (found.coefficients[:, 0, 0], coefficients))
    ink = deformed[:, 0] > 0.3
    off, moved = ((x[ink].norm(dim=1) * SIDE / 2).mean() for x in (ours - theirs, theirs))
    assert off < 0.25 * moved
    before = image_features(deformed - images, 2.0).square().sum(1).mean()
    assert found.residual.mean() < 0.1 * before
    shown = explained(deformed, images, found)
    left = image_features(deformed, 2.0) - image_features(shown.deformed, 2.0)
    assert left.square().sum(1).mean() < 0.15 * before
    torch.testing.assert_close(shown.deformed + shown.residual, deformed)


def test_all_pairs_at_once_are_the_pairs_one_by_one(planted):
    """However many are computed at a time; and none costs more than without a deformation."""
    images, _, deformed = planted
    fixed, moving = deformed[:12].view(2, 6, 1, SIDE, SIDE), images[:6].view(2, 3, 1, SIDE, SIDE)
    settings = {"stiffness": 0.05, "gradients": 3.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fewshot.learners.deformation.registration.PAIR_BYTES", {"cpu": 100_000})
        together = register(fixed, moving, PRIOR, **settings)
    assert together.cost.shape == (2, 6, 3)
    for e, f, m in [(0, 0, 0), (1, 5, 2), (1, 2, 0)]:
        one = register(fixed[e, f][None, None], moving[e, m][None, None], PRIOR, **settings)
        torch.testing.assert_close(together.cost[e, f, m], one.cost[0, 0, 0])
        torch.testing.assert_close(together.spread[e, f], one.spread[0, 0], atol=1e-5, rtol=1e-2)
        still = image_features(fixed[e, f] - moving[e, m], 0.0)
        features = image_features(still[None], 3.0).square().sum(1).mean()
        assert together.cost[e, f, m] <= features + 1e-5


def test_the_cost_is_that_of_the_formula_and_nearly_the_least(planted):
    """From where it ends, a general optimiser finds little that costs less."""
    images, _, deformed = planted
    fixed, moving, stiffness = deformed[:8], images[:8], 0.05
    found = register(fixed[:, None], moving[:, None], PRIOR, stiffness=stiffness, gradients=2.0)
    query, support = (image_features(x, 2.0) for x in (fixed, moving))
    level = PRIOR.diagonal().mean()
    precision = torch.linalg.inv(PRIOR.double() + 1e-6 * level * torch.eye(32)).float()

    def cost(c):
        left = query - warp(support, IDENTITY, shifts(c, SIDE, SIDE))
        effort = ((c @ precision) * c).sum(1) / 32
        return left.square().sum(1).mean((1, 2)) + stiffness * effort

    start = found.coefficients[:, 0, 0]
    torch.testing.assert_close(cost(start), found.cost[:, 0, 0], atol=1e-4, rtol=1e-3)
    basis = root(PRIOR)  # a step of one is as long as a deformation in every direction
    z = torch.zeros(len(start), 32, requires_grad=True)
    optimizer = torch.optim.Adam([z], 0.02)
    best = cost(start)
    for _ in range(60):
        now = cost(start + z @ basis)
        best = torch.minimum(best, now.detach())
        optimizer.zero_grad()
        now.sum().backward()
        optimizer.step()
    unmoved = cost(torch.zeros_like(start))
    assert ((found.cost[:, 0, 0] - best) < 0.1 * (unmoved - best)).all()


def test_the_spread_is_the_posterior_of_the_linear_problem():
    """Without ink the images say nothing: the spread is the prior's covariance."""
    empty = torch.zeros(1, 1, 1, SIDE, SIDE)
    found = register(empty, empty, PRIOR, stiffness=0.3, gradients=1.0)
    torch.testing.assert_close(found.spread[0, 0], PRIOR, atol=1e-4, rtol=1e-3)
    assert float(found.cost) == 0
