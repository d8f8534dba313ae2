"""DCI, against matrices by hand and scipy's entropy."""

import numpy as np
import pytest
from scipy.stats import entropy

from guided import InputError
from guided.metrics import dci, disentanglement_and_completeness


@pytest.mark.parametrize(
    ("matrix", "disentanglement", "completeness"),
    [
        (np.eye(4), 1, 1),
        (np.ones((3, 5)), 0, 0),
        ([[0.9, 0.1], [0.2, 0.8]], 0.4045, 0.3973),
        ([[1, 0], [1, 0], [0, 1], [0, 1]], 1, 0.5),  # each factor twice
        ([[1, 1]], 0, 1),  # one latent for both
        ([[2.0], [0.0], [2.0]], 1, 1 - np.log(2) / np.log(3)),
        ([[3, 0, 0], [0, 0.5, 0.5]], 0.75 + 0.25 * (1 - np.log(2) / np.log(3)), 1),
        (np.zeros((2, 2)), 0, 0),
    ],
)
def test_matrices_whose_scores_are_known(matrix, disentanglement, completeness):
    found = disentanglement_and_completeness(matrix)
    assert found == pytest.approx((disentanglement, completeness), abs=5e-5)


def test_scores_are_those_of_scipys_entropies():
    matrix = np.random.default_rng(0).exponential(size=(6, 4)) ** 3
    rows = 1 - entropy(matrix, base=4, axis=1)
    columns = 1 - entropy(matrix, base=6, axis=0)
    expected = (
        np.average(rows, weights=matrix.sum(1)),
        np.average(columns, weights=matrix.sum(0)),
    )
    assert disentanglement_and_completeness(matrix) == pytest.approx(expected)
    for wrong in ([1.0, 2.0], [[-1.0, 2.0]], [[np.nan, 1.0]]):
        with pytest.raises(InputError, match="importances: expected a matrix"):
            disentanglement_and_completeness(wrong)


@pytest.mark.parametrize("predictor", ["forest", "boosting"])
def test_categories_and_numbers_are_predicted_from_the_latents_that_tell_them(predictor):
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 3, 500), rng.normal(size=500)], 1)
    codes = np.column_stack([rng.normal(size=500), factors[:, 1] ** 3, 0.1 * factors[:, 0]])
    found = dci(codes, factors, predictor=predictor)
    np.testing.assert_allclose(found.importances, [[0, 0], [0, 1], [1, 0]], atol=0.01)
    assert found.disentanglement > 0.95 and found.completeness > 0.95
    assert 0.95 < found.informativeness <= 1
    useless = dci(rng.normal(size=(500, 2)), factors, predictor=predictor)
    # Accuracy 1/3 and R² near 0, held out.
    assert useless.informativeness < 0.25


def test_noise_beside_noisy_codes_of_categories_is_given_little_importance():
    """Trees that are grown to the end give half of it to noise."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 10, (3000, 2))
    codes = np.hstack([factors + rng.normal(size=(3000, 2)), rng.normal(size=(3000, 4))])
    assert dci(codes, factors).importances[2:].sum(0).max() < 0.25
