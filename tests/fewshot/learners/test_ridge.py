"""Ridge regression against scikit-learn's, which solves the primal problem with an intercept."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference

from fewshot.learners.ridge import Ridge


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("shot", "d"), [(1, 10), (3, 40), (5, 2)])
def test_equals_scikit_learn(pixels, make_episodes, penalty, shot, d):
    episodes = make_episodes(shot=shot, d=d)
    logits = Ridge(pixels, penalty=penalty).logits(episodes).numpy()
    one_hot = np.repeat(np.eye(4), shot, axis=0)
    for i in range(len(episodes)):
        support = episodes.support[i].flatten(0, 1).numpy()
        squared_norm = ((support - support.mean(0)) ** 2).sum(1).mean()
        reference = Reference(alpha=penalty * squared_norm).fit(support, one_hot)
        scores = reference.predict(episodes.query[i].flatten(0, 1).numpy())
        # Labels here sum to zero over the classes, one-hot ones to one.
        np.testing.assert_allclose(logits[i], scores - 1 / 4, rtol=1e-7, atol=1e-9)
