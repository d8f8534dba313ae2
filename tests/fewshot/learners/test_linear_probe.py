"""The linear probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fewshot.episodes import Episodes
from fewshot.learners.linear_probe import LinearProbe


@pytest.mark.parametrize(("shot", "d"), [(1, 10), (3, 40), (5, 2)])
@pytest.mark.parametrize(("penalty", "steps"), [(0.1, 300), (1.0, 100), (30.0, 100)])
def test_equals_scikit_learn(pixels, make_episodes, penalty, steps, shot, d):
    episodes = make_episodes(shot=shot, d=d)
    logits = LinearProbe(pixels, penalty=penalty, steps=steps).logits(episodes).numpy()
    labels = np.repeat(np.arange(4), shot)
    for i in range(len(episodes)):
        support, query = (x[i].flatten(0, 1).numpy() for x in (episodes.support, episodes.query))
        centre = support.mean(0)
        norm = np.sqrt(((support - centre) ** 2).sum(1).mean())
        reference = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
        reference.fit((support - centre) / norm, labels)
        scores = reference.decision_function((query - centre) / norm)
        # Neither side says what to add to all classes.
        expected = scores - scores.mean(1, keepdims=True)
        found = logits[i] - logits[i].mean(1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_gradient_through_the_steps_is_the_solutions(pixels, make_episodes):
    """Against a difference quotient of the solution, one support entry moved."""
    episodes = make_episodes(e=1)
    support = episodes.support.clone().requires_grad_()
    learner = LinearProbe(pixels)
    learner.loss(Episodes(support, episodes.query)).backward()
    losses = []
    for shift in (-1e-5, 1e-5):
        moved = episodes.support.clone()
        moved[0, 1, 2, 3] += shift
        exact = LinearProbe(pixels, steps=1000)
        losses.append(float(exact.loss(Episodes(moved, episodes.query))))
    quotient = (losses[1] - losses[0]) / 2e-5
    assert float(support.grad[0, 1, 2, 3]) == pytest.approx(quotient, rel=1e-4)
