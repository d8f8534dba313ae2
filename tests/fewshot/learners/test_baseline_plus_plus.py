"""Baseline++ against torch's own optimizer and gradients, one episode at a time."""

import pytest
import torch
import torch.nn.functional as F

from fewshot.episodes import Episodes
from fewshot.learners.baseline_plus_plus import BaselinePlusPlus


def fitted(support, steps, learning_rate, scale):
    """Weights ``[n_way, d]`` after SGD as in the authors' repository, on one episode's support."""
    features = F.normalize(support.flatten(0, 1), dim=1)
    labels = torch.arange(4).repeat_interleave(support.shape[1])
    start = F.normalize(features.unflatten(0, support.shape[:2]).mean(1), dim=1)
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.SGD(
        [weights], learning_rate, momentum=0.9, dampening=0.9, weight_decay=0.001
    )
    for _ in range(steps):
        optimizer.zero_grad()
        cosines = F.cosine_similarity(features[:, None], weights[None], dim=2)
        F.cross_entropy(scale * cosines, labels).backward()
        optimizer.step()
    return weights.detach()


@pytest.mark.parametrize(
    ("shot", "settings"),
    [(1, {}), (3, {}), (3, {"steps": 7, "learning_rate": 2.0, "scale": 10.0})],
)
def test_equals_torchs_sgd(pixels, make_episodes, shot, settings):
    episodes = make_episodes(shot=shot)
    with torch.no_grad():
        logits = BaselinePlusPlus(pixels, **settings).logits(episodes)
    used = {"steps": 100, "learning_rate": 0.01, "scale": 2.0, **settings}
    for i in range(len(episodes)):
        weights = fitted(episodes.support[i], **used)
        query = episodes.query[i].flatten(0, 1)
        cosines = F.cosine_similarity(query[:, None], weights[None], dim=2)
        torch.testing.assert_close(logits[i], used["scale"] * cosines)


def test_gradient_through_the_steps(pixels, make_episodes):
    episodes = make_episodes(e=1, way=2, shot=2, query=1, d=3)
    learner = BaselinePlusPlus(pixels, steps=5, learning_rate=0.5)
    support = episodes.support.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: learner.logits(Episodes(s, episodes.query)), support)


def test_evaluation_keeps_no_graph(pixels, make_episodes):
    episodes = make_episodes()
    support = episodes.support.clone().requires_grad_()
    with torch.no_grad():
        logits = BaselinePlusPlus(pixels).logits(Episodes(support, episodes.query))
    assert logits.grad_fn is None
