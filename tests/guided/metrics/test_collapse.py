"""The ratio of variances over images and over chains, where it is known."""

import numpy as np
import pytest

from guided.metrics import image_to_chain_variance


def test_known_ratios_of_gaussian_posteriors():
    """Posterior means of variance 4, 0.25 and 0, chains of variance 1 around them; few chains."""
    rng = np.random.default_rng(0)
    n = 20_000
    means = rng.standard_normal((n, 3)) * [2.0, 0.5, 0.0]
    ratios = image_to_chain_variance(means + rng.standard_normal((3, n, 3)))
    np.testing.assert_allclose(ratios, [4, 0.25, 0], rtol=0.05, atol=0.02)


def test_chains_that_agree():
    z = np.zeros((2, 3, 2))
    z[:, :, 0] = [1, 2, 3]
    assert image_to_chain_variance(z).tolist() == [np.inf, 0]


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_the_scale_of_a_latent_does_not_matter(factor):
    z = np.random.default_rng(1).standard_normal((4, 10, 2))
    np.testing.assert_allclose(image_to_chain_variance(factor * z), image_to_chain_variance(z))
