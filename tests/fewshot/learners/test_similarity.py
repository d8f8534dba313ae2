"""Both metrics against scipy's distances."""

import pytest
import torch
from scipy.spatial.distance import cdist

from fewshot.learners.similarity import similarity


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(0)
    query = torch.randn(3, 5, 7, generator=rng, dtype=torch.float64)
    return query, torch.randn(3, 4, 7, generator=rng, dtype=torch.float64)


def test_squared_distances_up_to_the_querys_own_norm(pair):
    query, reference = pair
    scores = similarity(query, reference, "squared_euclidean") - query.square().sum(2)[..., None]
    for e in range(3):
        expected = torch.from_numpy(cdist(query[e], reference[e], "sqeuclidean"))
        torch.testing.assert_close(-scores[e], expected)


def test_cosines(pair):
    query, reference = pair
    for e, scores in enumerate(similarity(query, reference, "cosine")):
        expected = torch.from_numpy(cdist(query[e], reference[e], "cosine"))
        torch.testing.assert_close(1 - scores, expected)
