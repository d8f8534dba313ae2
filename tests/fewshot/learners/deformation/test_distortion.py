"""The image distortion model against its definition in plain loops, and on glyphs."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fewshot.learners.deformation import distortion
from fewshot.learners.deformation.alignment import blurred
from fewshot.learners.deformation.distortion import deformation_costs, explanation, image_features


def by_definition(query, support, window, context, stiffness):
    """Costs of both directions, pixel by pixel; ``[F, H, W]`` each."""
    _, height, width = query.shape
    around = [(0, 0), (context // 2,) * 2, (context // 2,) * 2]
    query, support = (np.pad(x, around, mode="edge") for x in (query, support))
    costs = np.full((height, width, height, width), np.inf)
    for y, x in np.ndindex(height, width):
        for v, u in np.ndindex(height, width):
            if max(abs(y - v), abs(x - u)) <= window:
                one = query[:, y : y + context, x : x + context]
                other = support[:, v : v + context, u : u + context]
                moved = (y - v) ** 2 + (x - u) ** 2
                costs[y, x, v, u] = ((one - other) ** 2).sum() / context**2 + stiffness * moved
    return costs.min((2, 3)).mean(), costs.min((0, 1)).mean()


def random_features(channels=2, height=6, width=8, seed=0):
    """Of two episodes: three queries and four support images."""
    drawn = torch.Generator().manual_seed(seed)
    shape = (channels, height, width)
    return torch.rand(2, 3, *shape, generator=drawn), torch.rand(2, 4, *shape, generator=drawn)


@pytest.mark.parametrize("context", [1, 3, 5])
@pytest.mark.parametrize(("window", "stiffness"), [(0, 0), (1, 0.2), (2, 0), (2, 0.05)])
def test_costs_are_those_of_the_definition(window, context, stiffness):
    query, support = random_features()
    settings = {"window": window, "context": context, "stiffness": stiffness}
    expected = np.array(
        [
            [[by_definition(q, s, **settings) for s in ss] for q in qs]
            for qs, ss in zip(query.numpy(), support.numpy(), strict=True)
        ]
    )
    both = deformation_costs(query, support, **settings)
    np.testing.assert_allclose(both, expected.mean(3), rtol=1e-5)
    for i, direction in enumerate(("query", "support")):
        found = deformation_costs(query, support, direction=direction, **settings)
        np.testing.assert_allclose(found, expected[..., i], rtol=1e-5)
        # What explains the query explains the support when the two change places.
        swapped = deformation_costs(support, query, direction=direction, **settings)
        np.testing.assert_allclose(swapped, expected[..., 1 - i].transpose(0, 2, 1), rtol=1e-5)


@pytest.mark.parametrize(("kept", "volume"), [(1, 2**24), (40_000, 3_000), (2**24, 1)])
def test_costs_do_not_depend_on_the_memory_allowed(kept, volume, monkeypatch):
    query, support = random_features(height=5, width=5)
    expected = deformation_costs(query, support)
    monkeypatch.setitem(distortion.MATCH_BYTES, "cpu", kept)
    monkeypatch.setitem(distortion.VOLUME_BYTES, "cpu", volume)
    torch.testing.assert_close(deformation_costs(query, support), expected)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.6])
def test_blurred_images_are_scipys(sigma):
    images = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    reach = math.ceil(3 * sigma)
    expected = gaussian_filter(images, sigma, mode="nearest", radius=reach, axes=(2, 3))
    np.testing.assert_allclose(blurred(images, sigma), expected, atol=1e-5)


def test_derivatives_of_a_slope_are_twice_its_steepness():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    images = (0.3 * x - 0.1 * y).expand(2, 3, -1, -1)
    features = image_features(images, 2)
    assert features.shape == (2, 9, 6, 7)
    assert torch.equal(features[:, :3], images)
    across, down = features[:, 3::2, 1:-1, 1:-1], features[:, 4::2, 1:-1, 1:-1]
    torch.testing.assert_close(across, torch.full_like(across, 0.6))
    torch.testing.assert_close(down, torch.full_like(down, -0.2))


def test_an_explanation_is_the_displacement_that_was_made():
    """An image whose pixels all differ, moved by one row and two columns."""
    drawn = torch.Generator().manual_seed(0)
    support = torch.rand(1, 2, 12, 12, generator=drawn)
    query = support.roll((1, -2), (2, 3))
    found = explanation(query, support, window=2, context=3)
    inner = slice(4, -4)
    assert (found.displacement[0, inner, inner] == torch.tensor([-1, 2])).all()
    assert not found.residual[..., inner, inner].any()
    torch.testing.assert_close(found.deformed + found.residual, query)


@pytest.mark.parametrize("gradients", [0, 3])
def test_an_explanation_costs_what_the_query_does(gradients):
    query, support = random_features()
    settings = {"window": 2, "context": 3, "stiffness": 0.1}
    found = explanation(query[:, 0], support[:, 0], gradients=gradients, **settings)
    ours, theirs = (image_features(x[:, 0], gradients).unsqueeze(1) for x in (query, support))
    expected = deformation_costs(ours, theirs, direction="query", **settings)
    torch.testing.assert_close(found.cost.mean((1, 2)), expected[:, 0, 0])
    blank = explanation(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5))
    assert not blank.displacement.any(), "of equally good displacements the shortest"
