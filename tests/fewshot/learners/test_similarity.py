"""Both metrics against scipy's distances; temperatures."""

import pytest
import torch
from scipy.spatial.distance import cdist

from fewshot.learners import Matching, Prototypical, RefinedPrototypical
from fewshot.learners.similarity import Temperature, similarity


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


@pytest.mark.parametrize("learned", [False, True])
def test_temperature_divides(learned):
    scores = torch.tensor([1.0, -3.0])
    cooled = Temperature(0.25, learned=learned, owner="Any")(scores)
    torch.testing.assert_close(cooled, torch.tensor([4.0, -12.0]))


def test_a_learned_temperature_stays_above_zero():
    """Scores that are right want it at zero: large steps towards it must not pass."""
    temperature = Temperature(0.1, learned=True, owner="Any")
    optimizer = torch.optim.SGD(temperature.parameters(), lr=10)
    scores = torch.tensor([[0.3, 0.1]])
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(temperature(scores), torch.tensor([0])).backward()
        optimizer.step()
    assert 0 < float(1 / temperature(torch.ones(())).detach()) < 0.02


@pytest.mark.parametrize("cls", [Prototypical, Matching, RefinedPrototypical])
def test_a_learned_temperature_starts_at_the_given_one_and_is_trained(pixels, make_episodes, cls):
    episodes = make_episodes()
    learner, fixed = cls(pixels, temperature=0.25, learn_temperature=True), cls(pixels)
    fixed.temperature = Temperature(0.25, learned=False, owner="Any")
    torch.testing.assert_close(learner.logits(episodes), fixed.logits(episodes))
    assert (list(learner.own_state()), list(fixed.own_state())) == (["temperature.log"], [])
    learner.loss(episodes).backward()
    assert learner.temperature.log.grad.abs() > 0
