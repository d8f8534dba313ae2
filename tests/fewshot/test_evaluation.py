"""Errors of fixed episodes, against a plain loop and cases with known answers."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import fewshot.evaluation
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler

SETTING = Setting(4, 2, 3)


@pytest.fixture
def sampler(bank):
    return EpisodeSampler(bank, SETTING, seed=2)


@pytest.fixture
def embeddings(bank):
    """Classes overlap: some queries are wrong."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((bank.n_classes, 5))[bank.labels]
    return torch.from_numpy(centres + 1.2 * rng.standard_normal((len(bank), 5))).float()


def test_equals_a_plain_loop(encoder, embeddings, sampler):
    errors = episode_errors(Prototypical(encoder), embeddings, sampler, 30)
    assert errors.shape == (30,)
    assert errors.dtype == torch.float32
    table = embeddings.numpy()
    for i in range(30):
        episode, wrong = sampler[i], 0
        prototypes = [table[episode.support[0, c]].mean(0) for c in range(4)]
        for c in range(4):
            for row in episode.query[0, c]:
                distances = [((table[row] - p) ** 2).sum() for p in prototypes]
                wrong += int(np.argmin(distances)) != c
        assert float(errors[i]) == pytest.approx(100 * wrong / 12)
    assert 5 < float(errors.mean()) < 70, "an easy or hopeless task would show little"


@pytest.mark.parametrize("episodes_at_a_time", [1, 4, 7, 1000])
def test_chunks_do_not_matter(monkeypatch, encoder, embeddings, sampler, episodes_at_a_time):
    whole = episode_errors(Prototypical(encoder), embeddings, sampler, 30)
    drawn = []
    batch = EpisodeSampler.batch

    def spy(self, start, stop):
        drawn.append((start, stop))
        return batch(self, start, stop)

    monkeypatch.setattr(EpisodeSampler, "batch", spy)
    episode_bytes = 4 * (2 + 3) * 5 * 4
    monkeypatch.setattr(fewshot.evaluation, "CHUNK_BYTES", episodes_at_a_time * episode_bytes)
    assert torch.equal(episode_errors(Prototypical(encoder), embeddings, sampler, 30), whole)
    assert (drawn[0][0], drawn[-1][1]) == (0, 30)
    assert all(stop == start for (_, stop), (start, _) in pairwise(drawn))
    assert max(stop - start for start, stop in drawn) == min(30, episodes_at_a_time)


def test_more_episodes_begin_with_the_same_ones(encoder, embeddings, sampler):
    learner = Prototypical(encoder)
    few, many = (episode_errors(learner, embeddings, sampler, n) for n in (10, 25))
    assert torch.equal(few, many[:10])


def test_known_answers(bank, encoder, sampler):
    learner = Prototypical(encoder)
    perfect = torch.eye(bank.n_classes)[bank.labels]
    assert episode_errors(learner, perfect, sampler, 20).tolist() == [0.0] * 20
    # A constant embedding: every class scores the same, the first is taken.
    constant = torch.ones(len(bank), 3)
    assert episode_errors(learner, constant, sampler, 20).tolist() == [75.0] * 20
    chance = torch.randn(len(bank), 3, generator=torch.Generator().manual_seed(0))
    mean = float(episode_errors(learner, chance, sampler, 2000).mean())
    assert mean == pytest.approx(75, abs=1.5)


def test_no_gradients_are_kept(encoder, embeddings, sampler):
    errors = episode_errors(Prototypical(encoder), embeddings.requires_grad_(), sampler, 3)
    assert not errors.requires_grad


def test_learner_is_put_into_evaluation_mode(encoder, embeddings, sampler):
    learner = Prototypical(encoder.train())
    episode_errors(learner, embeddings, sampler, 2)
    assert not learner.training
    assert not encoder.training


@pytest.mark.parametrize("batch_size", [7, 64, 10_000])
def test_embeddings_do_not_depend_on_the_batch_size(bank, encoder, batch_size):
    """Even of an encoder that is handed over in training mode: batch norm is frozen."""
    expected = encoder(bank.images).detach()
    embedded = embed_bank(encoder.train(), bank, batch_size=batch_size)
    torch.testing.assert_close(embedded, expected, rtol=1e-5, atol=1e-5)
    assert not embedded.requires_grad
    assert expected.std() > 0.01
