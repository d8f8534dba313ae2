"""Ridge regression against scikit-learn's, which solves the primal problem with an intercept."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from fewshot.episodes import Episodes
from fewshot.learners.ridge import Ridge
from guided.errors import InputError


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


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_latents_have_an_arbitrary_scale_and_origin(pixels, make_episodes, scale):
    episodes = make_episodes()
    other = Episodes(scale * (episodes.support + 7), scale * (episodes.query + 7))
    torch.testing.assert_close(Ridge(pixels).logits(other), Ridge(pixels).logits(episodes))


def test_a_support_of_identical_images(pixels):
    """Nothing to fit: no class is preferred, and nothing is NaN."""
    same = Episodes(torch.ones(2, 3, 1, 5), torch.randn(2, 3, 2, 5))
    assert Ridge(pixels).logits(same).abs().max() < 1e-6


@pytest.mark.parametrize("penalty", [0, -1, float("nan")])
def test_impossible_penalty(pixels, penalty):
    with pytest.raises(InputError, match=r"^Ridge\.penalty: expected > 0"):
        Ridge(pixels, penalty=penalty)
