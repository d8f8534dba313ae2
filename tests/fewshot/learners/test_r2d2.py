"""R2-D2 against scikit-learn's primal solution, and what of it is learned."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from fewshot.learners.r2d2 import R2D2


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("shot", "d"), [(1, 10), (3, 40), (5, 2)])
def test_equals_scikit_learn_without_intercept(pixels, make_episodes, penalty, shot, d):
    episodes = make_episodes(shot=shot, d=d)
    learner = R2D2(pixels, penalty=penalty, scale=3.0).double()
    with torch.no_grad():
        learner.bias.fill_(0.5)
        logits = learner.logits(episodes).numpy()
    one_hot = np.repeat(np.eye(4), shot, axis=0)
    for i in range(len(episodes)):
        reference = Reference(alpha=penalty, fit_intercept=False)
        reference.fit(episodes.support[i].flatten(0, 1).numpy(), one_hot)
        scores = reference.predict(episodes.query[i].flatten(0, 1).numpy())
        # The learner made its λ in float32.
        np.testing.assert_allclose(logits[i], 3 * scores + 0.5, rtol=1e-5, atol=1e-6)


def test_gradient_of_the_penalty(pixels, make_episodes):
    """Through the solver, against a difference quotient."""
    episodes = make_episodes()
    learner = R2D2(pixels, penalty=2.0).double()
    learner.loss(episodes).backward()
    losses = []
    with torch.no_grad():
        for shift in (-1e-4, 2e-4):
            learner.log_penalty += shift
            losses.append(float(learner.loss(episodes)))
    quotient = (losses[1] - losses[0]) / 2e-4
    assert float(learner.log_penalty.grad) == pytest.approx(quotient, rel=1e-5)


def test_softmax_does_not_see_the_bias(pixels, make_episodes):
    learner = R2D2(pixels).double()
    learner.loss(make_episodes()).backward()
    assert learner.bias.grad.abs() < 1e-12
    assert learner.scale.grad.abs() > 1e-6
    assert learner.log_penalty.grad.abs() > 1e-6
