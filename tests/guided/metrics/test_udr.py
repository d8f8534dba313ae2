"""The unsupervised ranking, where its score is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso

from guided import InputError
from guided.metrics import udr_scores


def white(n=4000, d=2, seed=0):
    """Gaussian latents of exactly unit covariance."""
    noise = np.random.default_rng(seed).normal(size=(n, d))
    noise -= noise.mean(0)
    return noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T, ddof=0))).T


def turned(latents, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return latents @ [[c, -s], [s, c]]


def test_order_sign_and_scale_do_not_matter():
    base = white(d=4)
    copies = [base, -base[:, [2, 0, 3, 1]], 5 * base[:, ::-1] + 1]
    np.testing.assert_allclose(udr_scores(copies), 0.9, atol=0.02)  # 1 - alpha
    np.testing.assert_allclose(udr_scores(copies, alpha=0.3), 0.7, atol=0.02)
    # Independent latents have rank correlations of about 0.01 with each other.
    np.testing.assert_allclose(udr_scores(copies, relation="spearman"), 1, atol=0.05)


def test_two_latents_turned_by_half_a_right_angle():
    base = white(20_000)
    models = [base, turned(base, 45)]
    assert udr_scores(models, relation="spearman") == pytest.approx([0.345] * 2, abs=0.003)
    # Coefficients of √½ - 0.1.
    assert udr_scores(models) == pytest.approx([0.304] * 2, abs=0.003)


def test_the_odd_model_has_the_lowest_score():
    base = white()
    scores = udr_scores([base, base[:, ::-1], turned(base, 40), -base])
    assert scores.argmin() == 2 and scores[2] < 0.5 < np.delete(scores, 2).min()


@pytest.mark.parametrize("relation", ["lasso", "spearman"])
def test_it_is_the_median_over_partners_in_loops(relation):
    rng = np.random.default_rng(0)
    models = [rng.normal(size=(300, 3)) @ rng.normal(size=(3, d)) for d in (2, 3, 4, 3)]
    models = [(m - m.mean(0)) / m.std(0) for m in models]
    models = [m + models[0] @ rng.normal(size=(2, m.shape[1])) for m in models]
    standard = [(m - m.mean(0)) / m.std(0) for m in models]
    expected = []
    for i, own in enumerate(standard):
        scores = []
        for j, partner in enumerate(standard):
            if i == j:
                continue
            related = np.empty((partner.shape[1], own.shape[1]))
            for b in range(own.shape[1]):
                if relation == "lasso":
                    lasso = Lasso(alpha=0.1, tol=1e-10, max_iter=100_000)
                    related[:, b] = abs(lasso.fit(partner, own[:, b]).coef_)
                else:
                    related[:, b] = [abs(spearmanr(z, own[:, b])[0]) for z in partner.T]
            columns = [max(c) ** 2 / sum(c) if sum(c) else 0 for c in related.T]
            rows = [max(r) ** 2 / sum(r) if sum(r) else 0 for r in related]
            scores.append((np.mean(columns) + np.mean(rows)) / 2)
        expected.append(np.median(scores))
    np.testing.assert_allclose(udr_scores(models, relation=relation), expected, rtol=1e-4)


def test_latents_without_information_are_left_out():
    base, noise = white(), np.random.default_rng(1).normal(size=(4000, 3))
    padded = [np.hstack([base, noise]), np.hstack([noise[:, :1], base]), base[:, ::-1]]
    kl = [[2, 0.5, 0.01, 0, 0], [0.001, 1, 1], [1, 0.02]]
    np.testing.assert_allclose(udr_scores(padded, kl), 0.9, atol=0.01)
    constant = [np.hstack([base, np.ones((4000, 1))]), base]
    np.testing.assert_allclose(udr_scores(constant), 0.9, atol=0.01)
    collapsed = udr_scores([base, -base, base], [[1, 1], [1, 1], [0, 0]], relation="spearman")
    assert collapsed[2] == 0, "a model without a latent"
    assert collapsed[0] == collapsed[1] == pytest.approx(0.5, abs=0.05), "the median of 1 and 0"


def test_latents_that_do_not_fit_are_refused():
    base = white(100)
    for models in ([base], [base, base[:50]]):
        with pytest.raises(InputError, match="at least two models, of the same images"):
            udr_scores(models)
    with pytest.raises(InputError, match="the KL of each latent of each model"):
        udr_scores([base, base], [[1, 1], [1]])
