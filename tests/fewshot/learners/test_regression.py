"""Learners that fit a linear map to the support, against scikit-learn and torch's optimizer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as Reference

from fewshot.episodes import Episodes
from fewshot.learners import R2D2, BaselinePlusPlus, LinearProbe, Ridge


def ridge(pixels, penalty):
    def expected(support, query, labels):
        squared_norm = ((support - support.mean(0)) ** 2).sum(1).mean()
        reference = Reference(alpha=penalty * squared_norm).fit(support, np.eye(4)[labels])
        # Labels here sum to zero over the classes, one-hot ones to one.
        return reference.predict(query) - 1 / 4

    return Ridge(pixels, penalty=penalty), expected


def r2d2(pixels, penalty):
    def expected(support, query, labels):
        reference = Reference(alpha=penalty, fit_intercept=False).fit(support, np.eye(4)[labels])
        return 3 * reference.predict(query) + 0.5

    learner = R2D2(pixels, penalty=penalty, scale=3.0).double()
    learner.bias.data.fill_(0.5)
    return learner, expected


def linear_probe(pixels, penalty):
    def expected(support, query, labels):
        centre = support.mean(0)
        norm = np.sqrt(((support - centre) ** 2).sum(1).mean())
        reference = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
        scores = reference.fit((support - centre) / norm, labels).decision_function(
            (query - centre) / norm
        )
        return scores - scores.mean(1, keepdims=True)

    return LinearProbe(pixels, penalty=penalty, steps=300 if penalty < 1 else 100), expected


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("shot", "d"), [(1, 10), (3, 40), (5, 2)])
@pytest.mark.parametrize(
    ("made", "atol"),
    [(ridge, 1e-9), (r2d2, 1e-6), (linear_probe, 1e-4)],  # R2D2's λ is float32
)
def test_equals_scikit_learn(pixels, make_episodes, made, penalty, shot, d, atol):
    episodes = make_episodes(shot=shot, d=d)
    learner, expected = made(pixels, penalty)
    logits = learner.logits(episodes).detach().numpy()
    if made is linear_probe:  # neither side says what to add to all classes
        logits -= logits.mean(2, keepdims=True)
    for found, support, query in zip(logits, episodes.support, episodes.query, strict=True):
        data = support.flatten(0, 1).numpy(), query.flatten(0, 1).numpy()
        reference = expected(*data, np.repeat(np.arange(4), shot))
        np.testing.assert_allclose(found, reference, rtol=10 * atol, atol=atol)


def quotient(loss, value, index, shift=1e-5):
    """The difference quotient of a loss in one entry of a tensor."""
    with torch.no_grad():
        value[index] += shift
        above = float(loss())
        value[index] -= 2 * shift
        below = float(loss())
        value[index] += shift
    return (above - below) / (2 * shift)


def test_gradient_through_the_probes_steps_is_the_solutions(pixels, make_episodes):
    episodes = make_episodes(e=1)
    support = episodes.support.clone().requires_grad_()
    LinearProbe(pixels).loss(Episodes(support, episodes.query)).backward()
    exact = LinearProbe(pixels, steps=1000)
    slope = quotient(lambda: exact.loss(episodes), episodes.support, (0, 1, 2, 3))
    assert float(support.grad[0, 1, 2, 3]) == pytest.approx(slope, rel=1e-4)


def test_r2d2_learns_its_penalty_and_scale(pixels, make_episodes):
    episodes = make_episodes()
    learner = R2D2(pixels, penalty=2.0).double()
    learner.loss(episodes).backward()
    for weight in (learner.log_penalty, learner.scale):
        slope = quotient(lambda: learner.loss(episodes), weight, ())
        assert float(weight.grad) == pytest.approx(slope, rel=1e-5)
        assert abs(slope) > 1e-6
    assert learner.bias.grad.abs() < 1e-12, "softmax does not see it"


@pytest.mark.parametrize(
    ("shot", "settings"),
    [(1, {}), (3, {}), (3, {"steps": 7, "learning_rate": 2.0, "scale": 10.0})],
)
def test_baseline_plus_plus_is_torchs_sgd(pixels, make_episodes, shot, settings):
    """From the class means of the normalised embeddings, with the constants of its authors."""
    episodes = make_episodes(shot=shot)
    logits = BaselinePlusPlus(pixels, **settings).logits(episodes)
    used = {"steps": 100, "learning_rate": 0.01, "scale": 2.0, **settings}
    constants = {"momentum": 0.9, "dampening": 0.9, "weight_decay": 0.001}
    for found, support, query in zip(logits, episodes.support, episodes.query, strict=True):
        features = F.normalize(support, dim=2)
        weights = F.normalize(features.mean(1), dim=1).requires_grad_()
        optimizer = torch.optim.SGD([weights], used["learning_rate"], **constants)

        def scores(images, weights=weights):
            cosines = F.cosine_similarity(images.flatten(0, 1)[:, None], weights[None], dim=2)
            return used["scale"] * cosines

        for _ in range(used["steps"]):
            optimizer.zero_grad()
            F.cross_entropy(scores(features), episodes.support_labels()).backward()
            optimizer.step()
        torch.testing.assert_close(found, scores(query).detach())


def test_gradient_through_the_steps_of_baseline_plus_plus(pixels, make_episodes):
    episodes = make_episodes(e=1, way=2, shot=2, query=1, d=3)
    learner = BaselinePlusPlus(pixels, steps=5, learning_rate=0.5)
    support = episodes.support.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: learner.logits(Episodes(s, episodes.query)), support)
