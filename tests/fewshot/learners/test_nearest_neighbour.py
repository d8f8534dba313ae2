"""Nearest neighbour against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier

from fewshot.learners.nearest_neighbour import NearestNeighbour
from fewshot.learners.prototypical import Prototypical


@pytest.mark.parametrize(
    ("metric", "distance"), [("squared_euclidean", "euclidean"), ("cosine", "cosine")]
)
def test_predicts_the_class_of_the_closest_support_image(pixels, make_episodes, metric, distance):
    episodes = make_episodes(e=20)
    predicted = NearestNeighbour(pixels, metric=metric).logits(episodes).argmax(2)
    labels = np.repeat(np.arange(4), 3)
    for i in range(20):
        reference = KNeighborsClassifier(1, metric=distance)
        reference.fit(episodes.support[i].flatten(0, 1).numpy(), labels)
        expected = reference.predict(episodes.query[i].flatten(0, 1).numpy())
        assert predicted[i].tolist() == expected.tolist()
    centroids = Prototypical(pixels, metric=metric).logits(episodes).argmax(2)
    assert (predicted != centroids).any(), "at three shots it is another method"


def test_scores_are_the_smallest_distance_of_each_class(pixels, make_episodes):
    episodes = make_episodes(e=3)
    logits = NearestNeighbour(pixels).logits(episodes)
    for i in range(3):
        query = episodes.query[i].flatten(0, 1).numpy()
        support = episodes.support[i].flatten(0, 1).numpy()
        closest = (pairwise_distances(query, support) ** 2).reshape(8, 4, 3).min(2)
        own = (query**2).sum(1, keepdims=True)
        np.testing.assert_allclose(logits[i].numpy(), own - closest, rtol=1e-9)


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_equals_prototypical_at_one_shot(pixels, make_episodes, metric):
    episodes = make_episodes(shot=1)
    torch.testing.assert_close(
        NearestNeighbour(pixels, metric=metric).logits(episodes),
        Prototypical(pixels, metric=metric).logits(episodes),
    )
