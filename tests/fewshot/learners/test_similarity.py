"""Learners that compare embeddings, against scipy, scikit-learn and plain loops."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from fewshot.episodes import Episodes
from fewshot.learners import Matching, NearestNeighbour, Prototypical, RefinedPrototypical, Relation
from fewshot.learners.similarity import Temperature, similarity

METRICS = ["squared_euclidean", "cosine"]


def arrays(episodes):
    """Support ``[4, n_shot, d]`` and queries ``[q, d]`` of each episode."""
    for support, query in zip(episodes.support, episodes.query, strict=True):
        yield support.numpy(), query.flatten(0, 1).numpy()


def closeness(query, reference, metric):
    """Minus the squared distance, or the cosine, by scipy."""
    distance = cdist(query, reference, metric.replace("squared_euclidean", "sqeuclidean"))
    return 1 - distance if metric == "cosine" else -distance


def probabilities(learner, episodes):
    return learner.logits(episodes).softmax(2).detach().numpy()


@pytest.mark.parametrize("metric", METRICS)
def test_prototypes_are_the_means(pixels, make_episodes, metric):
    episodes = make_episodes(e=20)
    learner = Prototypical(pixels, metric=metric, temperature=0.5)
    found = probabilities(learner, episodes)
    for p, (support, query) in zip(found, arrays(episodes), strict=True):
        scores = closeness(query, support.mean(1), metric)
        np.testing.assert_allclose(p, softmax(scores / 0.5, 1), rtol=1e-8)
        if metric == "squared_euclidean":
            labels = np.repeat(np.arange(4), 3)
            centroids = NearestCentroid().fit(support.reshape(12, -1), labels)
            assert p.argmax(1).tolist() == centroids.predict(query).tolist()
    assert (found.argmax(2) != episodes.query_labels().numpy()).any(), "too easy to test much"


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_not_rounded_in_bfloat16(metric):
    rng = torch.Generator().manual_seed(0)
    query, reference = 9 * torch.randn(2, 3, 6, 20, generator=rng).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = similarity(query, reference, metric)
    torch.testing.assert_close(found, similarity(query.float(), reference.float(), metric))


@pytest.mark.parametrize("metric", METRICS)
def test_nearest_neighbours_are_the_closest_images(pixels, make_episodes, metric):
    episodes = make_episodes(e=20)
    found = probabilities(NearestNeighbour(pixels, metric=metric), episodes)
    for p, (support, query) in zip(found, arrays(episodes), strict=True):
        flat = support.reshape(12, -1)
        closest = closeness(query, flat, metric).reshape(-1, 4, 3).max(2)
        np.testing.assert_allclose(p, softmax(closest, 1), rtol=1e-8)
        reference = KNeighborsClassifier(1, metric=metric.replace("squared_", ""))
        reference.fit(flat, np.repeat(np.arange(4), 3))
        assert p.argmax(1).tolist() == reference.predict(query).tolist()


@pytest.mark.parametrize("cls", [Prototypical, NearestNeighbour, RefinedPrototypical])
@pytest.mark.parametrize("d", [16, 64])
def test_a_common_offset_changes_nothing_in_single_precision(pixels, make_episodes, cls, d):
    """Neither logits, up to what all classes share, nor gradients."""
    learner, episodes = cls(pixels), make_episodes(e=20, d=d)
    offset = 10_000 + torch.arange(d)
    found, expected = [], []
    for results, single in [(found, True), (expected, False)]:
        rounded = [(x + offset).float() for x in (episodes.support, episodes.query)]
        parts = rounded if single else [x.double() - offset for x in rounded]
        moved = Episodes(*(part.requires_grad_() for part in parts))
        logits = learner.logits(moved)
        (logits / 20).softmax(2)[..., 0].sum().backward()
        results += [logits.detach() - logits.detach().mean(2, keepdim=True)]
        results += [part.grad for part in parts]
    for ours, exact, part in zip(found, expected, [2e-3, 2e-2, 2e-2], strict=True):
        atol = part * float(exact.abs().max())  # without care, several times the whole
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=atol)
    assert torch.equal(found[0].argmax(2), expected[0].argmax(2))


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("shot", [1, 3])
def test_matching_attends_image_by_image(pixels, make_episodes, temperature, shot):
    episodes = make_episodes(shot=shot)
    logits = Matching(pixels, temperature=temperature).logits(episodes).numpy()
    for found, (support, query) in zip(logits, arrays(episodes), strict=True):
        cosines = closeness(query, support.reshape(4 * shot, -1), "cosine")
        attention = softmax(cosines / temperature, 1).reshape(-1, 4, shot).sum(2)
        np.testing.assert_allclose(np.exp(found), attention, rtol=1e-9)


def test_cold_attention_sees_the_closest_image_alone(pixels, make_episodes):
    """Also where the attention itself would be 0 in floating point."""
    episodes = make_episodes(e=20)
    logits = Matching(pixels, temperature=1e-5).logits(episodes)
    nearest = NearestNeighbour(pixels, metric="cosine").logits(episodes)
    assert logits.isfinite().all()
    assert torch.equal(logits.argmax(2), nearest.argmax(2))


@pytest.mark.parametrize("metric", METRICS)
def test_refined_prototypes_also_average_the_queries(pixels, make_episodes, metric):
    episodes = make_episodes()
    learner = RefinedPrototypical(pixels, steps=2, metric=metric, temperature=0.7)
    found = probabilities(learner, episodes)
    for p, (support, query) in zip(found, arrays(episodes), strict=True):
        if metric == "cosine":
            support, query = (
                x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (support, query)
            )
        prototypes = support.mean(1)
        for _ in range(2):
            shares = softmax(closeness(query, prototypes, metric) / 0.7, 1)
            weights = support.shape[1] + shares.sum(0)
            prototypes = (support.sum(1) + shares.T @ query) / weights[:, None]
        expected = softmax(closeness(query, prototypes, metric) / 0.7, 1)
        np.testing.assert_allclose(p, expected, rtol=1e-7)


def test_a_learned_temperature_stays_above_zero():
    """Scores that are right want it at zero: large steps towards it must not pass."""
    temperature = Temperature(0.1, learned=True)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=10)
    scores = torch.tensor([[0.3, 0.1]])
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(temperature(scores), torch.tensor([0])).backward()
        optimizer.step()
    assert 0 < float(1 / temperature(torch.ones(())).detach()) < 0.02


@pytest.mark.parametrize("cls", [Prototypical, Matching, RefinedPrototypical])
def test_a_learned_temperature_starts_at_the_given_one_and_is_trained(pixels, make_episodes, cls):
    episodes, fixed = make_episodes(), cls(pixels, temperature=0.25)
    learner = cls(pixels, temperature=0.25, learn_temperature=True)
    torch.testing.assert_close(learner.logits(episodes), fixed.logits(episodes))
    assert (list(learner.own_state()), list(fixed.own_state())) == (["temperature.log"], [])
    learner.loss(episodes).backward()
    assert learner.temperature.log.grad.abs() > 0


def test_relation_compares_pair_by_pair(pixels, make_episodes):
    """Equations 1 and 2 of its source."""
    learner, episodes = Relation(pixels, hidden=16).double(), make_episodes(d=256)
    relations, errors = learner.relations(episodes), []
    assert relations.shape == (6, 8, 4)
    for found, support, query in zip(relations, episodes.support, episodes.query, strict=True):
        for q, c in np.ndindex(8, 4):
            pair = torch.cat([support[c].mean(0), query.flatten(0, 1)[q]])
            expected = learner.relation(pair).sigmoid().squeeze().detach()
            torch.testing.assert_close(found[q, c].detach(), expected)
            errors.append((float(expected) - (c == q // 2)) ** 2)
    assert float(learner.loss(episodes).detach()) == pytest.approx(np.mean(errors), rel=1e-9)
