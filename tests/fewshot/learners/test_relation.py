"""Relation networks against a plain loop, and a task that they learn."""

import numpy as np
import pytest
import torch

from fewshot.episodes import Episodes
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.relation import Relation
from guided.seeds import seeded_initialisation

D = 256  # of the pixels


@pytest.fixture
def learner(pixels):
    with seeded_initialisation(0, "test"):
        return Relation(pixels, hidden=16).double()


def test_equations_1_and_2_pair_by_pair(learner, make_episodes):
    episodes = make_episodes(d=D)
    relations, errors = learner.relations(episodes), []
    assert relations.shape == (6, 8, 4)
    for i in range(len(episodes)):
        for q, query in enumerate(episodes.query[i].flatten(0, 1)):
            for c in range(4):
                pair = torch.cat([episodes.support[i, c].mean(0), query])
                expected = learner.relation(pair).sigmoid().squeeze()
                torch.testing.assert_close(relations[i, q, c], expected)
                errors.append(float((expected.detach() - (c == q // 2)) ** 2))
    assert float(learner.loss(episodes).detach()) == pytest.approx(np.mean(errors), rel=1e-9)


def opposites(seed):
    """A query is minus its class's vector, which is one of the first three axes."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(3, generator=rng) for _ in range(16)])
    support = torch.eye(D, dtype=torch.float64)[order].unsqueeze(2)
    return Episodes(support, -support)


def test_learns_a_comparison_that_no_distance_makes(learner):
    held_out = opposites(1000)
    before = float(learner.loss(held_out).detach())
    optimizer = torch.optim.Adam(learner.own_parameters(), 0.01)
    for seed in range(100):
        optimizer.zero_grad()
        learner.loss(opposites(seed)).backward()
        optimizer.step()
    assert float(learner.loss(held_out).detach()) < 0.1 * before
    assert (learner.logits(held_out).argmax(2) == held_out.query_labels()).all()
    nearest = Prototypical(learner.encoder).logits(held_out).argmax(2)
    assert (nearest != held_out.query_labels()).all()
