"""Logistic regressions against scikit-learn's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from guided.errors import InputError
from guided.logistic_regression import LogisticRegressions


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_scikit_learn_finds_the_same_weights(penalty):
    """Of three problems at once; those of scikit-learn are told apart only up to its tolerance."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 3)
    features = rng.normal(size=(3, 90, 4)) + np.eye(4)[labels]
    one_hot = F.one_hot(torch.from_numpy(labels)).double()
    found, p = LogisticRegressions(torch.from_numpy(features), one_hot, penalty).solve()
    for x, weights, own in zip(features, found.numpy(), p.numpy(), strict=True):
        peer = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=10_000).fit(x, labels)
        np.testing.assert_allclose(weights[:-1], peer.coef_.T, atol=1e-4)
        np.testing.assert_allclose(own, peer.predict_proba(x), atol=1e-4)


def test_the_setting_at_fault_is_named():
    features = torch.randn(1, 8, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    one_hot = F.one_hot(torch.arange(8) % 2).double()
    with pytest.raises(InputError, match=r"^Mine.penalty: with nan"):
        LogisticRegressions(features, one_hot, float("nan"), "Mine.penalty").solve()
