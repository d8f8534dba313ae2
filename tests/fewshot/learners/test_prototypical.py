"""Prototypical networks against scikit-learn's nearest centroid and a plain loop."""

import numpy as np
import torch
from sklearn.neighbors import NearestCentroid

from fewshot.episodes import Episodes
from fewshot.learners.prototypical import Prototypical


def test_predicts_the_nearest_centroid(pixels, make_episodes):
    episodes = make_episodes(e=20)
    predicted = Prototypical(pixels).logits(episodes).argmax(2)
    labels = np.repeat(np.arange(4), 3)
    for i in range(20):
        reference = NearestCentroid().fit(episodes.support[i].flatten(0, 1).numpy(), labels)
        expected = reference.predict(episodes.query[i].flatten(0, 1).numpy())
        assert predicted[i].tolist() == expected.tolist()
    assert (predicted != episodes.query_labels()).any(), "queries that all agree test little"


def test_logits_are_squared_distances_up_to_a_constant_of_the_query(pixels, make_episodes):
    """Equation 2: the softmax over minus the squared distances to the class means."""
    episodes = make_episodes()
    probabilities = Prototypical(pixels).logits(episodes).softmax(2).numpy()
    for i in range(len(episodes)):
        support, query = episodes.support[i].numpy(), episodes.query[i].flatten(0, 1).numpy()
        for q, row in enumerate(query):
            scores = np.exp([-((row - support[c].mean(0)) ** 2).sum() for c in range(4)])
            np.testing.assert_allclose(probabilities[i, q], scores / scores.sum(), rtol=1e-9)


def test_cosine_logits(pixels, make_episodes):
    episodes = make_episodes()
    logits = Prototypical(pixels, metric="cosine").logits(episodes).numpy()
    for i in range(len(episodes)):
        prototypes = episodes.support[i].mean(1).numpy()
        for q, row in enumerate(episodes.query[i].flatten(0, 1).numpy()):
            cosines = prototypes @ row
            cosines /= np.linalg.norm(prototypes, axis=1) * np.linalg.norm(row)
            np.testing.assert_allclose(logits[i, q], cosines, rtol=1e-9)


def test_squared_distances_ignore_the_origin(pixels, make_episodes):
    episodes = make_episodes()
    moved = Episodes(episodes.support + 5, episodes.query + 5)
    learner = Prototypical(pixels)
    torch.testing.assert_close(
        learner.logits(moved).softmax(2), learner.logits(episodes).softmax(2)
    )
