"""The Fréchet distance: of the same images, of Gaussians whose distance is known, of others."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from guided import Conv4, Encoder, LatentLayout, Pixels
from guided.metrics.frechet import FrechetDistance


def pixels(d):
    """Features that are the pixels themselves."""
    return Encoder(Pixels((1, 1, d)), None)


def by_scipy(one, other):
    """The formula as it is written, with a matrix square root."""
    a, b = (x.flatten(1).double().numpy() for x in (one, other))
    (m, s), (n, t) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    return float(((m - n) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real))


def correlated(n, d, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + shift
    return torch.from_numpy(draws).view(n, 1, 1, d)


@pytest.mark.parametrize(
    ("sizes", "d", "batch_size", "rel"),
    [((300, 400), 5, 7, 1e-6), ((300, 400), 5, 1000, 1e-6), ((8, 9), 20, 1000, 0.01)],
)
def test_the_formula_by_another_implementation(sizes, d, batch_size, rel):
    """The last with fewer images than features."""
    real, made = correlated(sizes[0], d, 1), correlated(sizes[1], d, 2, shift=0.7)
    distance = FrechetDistance(pixels(d), real, batch_size)
    assert distance(made) == pytest.approx(by_scipy(real, made), rel=rel)
    assert 0 <= distance(real.flip(0)) < 1e-3


def test_features_are_the_networks_in_evaluation_mode():
    torch.manual_seed(0)
    network = Encoder(Conv4((1, 16, 16), width=4), LatentLayout({"content": (0, 3)})).train()
    images = torch.randint(0, 256, (2, 60, 1, 16, 16), dtype=torch.uint8)
    found = FrechetDistance(network, images[0], 11)(images[1])
    assert not network.training
    with torch.no_grad():
        features = [network(part) for part in images]
    assert found == pytest.approx(by_scipy(*features), rel=1e-3, abs=1e-7)
