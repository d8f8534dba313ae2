"""Refined prototypes against plain loops, and against the inductive learner."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from fewshot.episodes import Episodes
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.refined_prototypical import RefinedPrototypical


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_equals_a_plain_loop(pixels, make_episodes, metric):
    episodes = make_episodes()
    learner = RefinedPrototypical(pixels, steps=2, metric=metric, temperature=0.7)
    found = learner.logits(episodes).softmax(2).numpy()
    for i in range(len(episodes)):
        support, query = episodes.support[i].numpy(), episodes.query[i].flatten(0, 1).numpy()
        if metric == "cosine":
            support = support / np.linalg.norm(support, axis=-1, keepdims=True)
            query = query / np.linalg.norm(query, axis=-1, keepdims=True)
        prototypes = support.mean(1)
        for step in range(3):
            if metric == "cosine":
                unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
                scores = query @ unit.T / 0.7
            else:
                scores = -np.square(query[:, None] - prototypes).sum(2) / 0.7
            shares = np.exp(scores - scores.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            if step < 2:
                weights = support.shape[1] + shares.sum(0)
                prototypes = (support.sum(1) + shares.T @ query) / weights[:, None]
        np.testing.assert_allclose(found[i], shares, rtol=1e-7)


def test_many_cold_steps_are_k_means_around_the_support(pixels, make_episodes):
    episodes = make_episodes(e=5)
    learner = RefinedPrototypical(pixels, steps=50, temperature=1e-4)
    predicted = learner.logits(episodes).argmax(2)
    for i in range(5):
        support, query = episodes.support[i].numpy(), episodes.query[i].flatten(0, 1).numpy()
        # Lloyd's algorithm in which the support always belongs to its class.
        start = support.mean(1)
        for _ in range(50):
            near = np.square(query[:, None] - start).sum(2).argmin(1)
            start = np.stack(
                [np.concatenate([support[c], query[near == c]]).mean(0) for c in range(4)]
            )
        assert predicted[i].tolist() == near.tolist()


def test_queries_help_where_one_shot_misleads(pixels):
    """Tight clusters far from one another, supports at their rims."""
    rng = torch.Generator().manual_seed(0)
    centres = 10 * torch.eye(4, 8, dtype=torch.float64)
    spread = torch.randn(50, 4, 16, 8, generator=rng, dtype=torch.float64)
    images = centres[:, None] + 2.5 * spread
    episodes = Episodes(images[:, :, :1], images[:, :, 1:])

    def error(learner):
        wrong = learner.logits(episodes).argmax(2) != episodes.query_labels()
        return float(wrong.double().mean())

    assert error(RefinedPrototypical(pixels, steps=5)) < 0.6 * error(Prototypical(pixels))
    flat = images[0].flatten(0, 1).numpy()
    found = KMeans(4, init=images[0, :, 0].numpy(), n_init=1).fit_predict(flat)
    assert (
        found.reshape(4, 16) == np.arange(4)[:, None]
    ).mean() > 0.9  # there is something to find


def test_prototypes_depend_on_the_number_of_queries(pixels, make_episodes):
    learner = RefinedPrototypical(pixels)
    episodes = make_episodes()
    fewer = Episodes(episodes.support, episodes.query[:, :, :1])
    assert episodes.n_query > 1
    whole = learner.logits(episodes).unflatten(1, (4, -1))[:, :, 0]
    assert not torch.allclose(learner.logits(fewer).softmax(2), whole.softmax(2))
