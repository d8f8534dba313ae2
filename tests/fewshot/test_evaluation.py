"""Errors and predictions of fixed episodes, against plain loops and known answers."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import sem, t
from sklearn.metrics import confusion_matrix

import fewshot
import fewshot.evaluation
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors, wrong_queries
from fewshot.learners import MAML, Prototypical
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError
from guided.seeds import derive_seed

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
    counts = wrong_queries(Prototypical(encoder), embeddings, sampler, 30)
    assert (counts.shape, counts.dtype) == ((30,), torch.int64)
    errors = episode_errors(Prototypical(encoder), embeddings, sampler, 30)
    assert (errors.shape, errors.dtype) == ((30,), torch.float32)
    for i, (count, error) in enumerate(zip(counts, errors, strict=True)):
        rows = sampler[i]
        prototypes = embeddings[rows.support[0]].mean(1)
        nearest = torch.cdist(embeddings[rows.query[0]], prototypes).argmin(2)
        wrong = int((nearest != torch.arange(4)[:, None]).sum())
        assert int(count) == wrong
        assert float(error) == pytest.approx(100 * wrong / 12)
    assert 5 < float(errors.mean()) < 70, "an easy or hopeless task would show little"


@pytest.mark.parametrize("episodes_at_a_time", [1, 4, 7, 1000])
def test_chunks_and_later_episodes_do_not_matter(
    monkeypatch, encoder, embeddings, sampler, episodes_at_a_time
):
    learner, sizes = Prototypical(encoder), []
    whole = episode_errors(learner, embeddings, sampler, 40)[:30]
    monkeypatch.setattr(fewshot.evaluation, "CHUNK_BYTES", episodes_at_a_time * 4 * (2 + 3) * 5 * 4)
    logits = learner.logits
    monkeypatch.setattr(learner, "logits", lambda e: sizes.append(len(e)) or logits(e))
    assert torch.equal(episode_errors(learner, embeddings, sampler, 30), whole)
    assert max(sizes) == min(30, episodes_at_a_time)


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


@pytest.mark.parametrize("batch_size", [7, 64, 10_000])
def test_the_mode_is_evaluation_without_gradients(bank, encoder, sampler, batch_size):
    """Batch norm is frozen, so embeddings do not depend on the size of their batch."""
    expected = encoder(bank.images).detach()
    embedded = embed_bank(encoder.train(), bank, batch_size=batch_size, description="test")
    torch.testing.assert_close(embedded, expected, rtol=1e-5, atol=1e-5)
    learner = Prototypical(encoder).train()
    errors = episode_errors(learner, embedded.clone().requires_grad_(), sampler, 3)
    assert not (embedded.requires_grad or errors.requires_grad or learner.encoder.training)


@pytest.fixture
def result(encoder, bank):
    return fewshot.evaluate(
        Prototypical(encoder), bank, n_way=4, n_shot=2, n_query=3, episodes=60, seed=5
    )


def test_errors_are_those_of_the_commands_episodes(result, encoder, bank):
    """The seed's purpose is the one of ``fewshot evaluate`` and of studies."""
    sampler = EpisodeSampler(bank, SETTING, derive_seed(5, "test", SETTING.label))
    expected = episode_errors(Prototypical(encoder), embed_bank(encoder, bank), sampler, 60)
    assert torch.equal(result.errors, expected)
    assert 5 < result.error < 70, "an easy or hopeless task would show little"
    true, predicted = (part.flatten() for part in result.predictions)
    assert torch.equal(true, bank.labels[sampler.batch(0, 60).query].flatten())
    confused = confusion_matrix(true, predicted, labels=range(bank.n_classes))
    assert result.confusion.tolist() == confused.tolist()
    wrong = 1 - float(result.confusion.diagonal().sum()) / (60 * 12)
    assert 100 * wrong == pytest.approx(result.error, rel=1e-5)


def test_images_are_read_by_learners_that_need_them(encoder, bank):
    learner = Prototypical(encoder, batch_norm="support")
    few = fewshot.evaluate(learner, bank, n_way=3, n_query=2, episodes=4)
    sampler = EpisodeSampler(bank, few.setting, derive_seed(0, "test", few.setting.label))
    assert torch.equal(few.errors, episode_errors(learner, bank.images, sampler, 4))


def test_most_confused_classes_by_a_plain_count(result, bank):
    rows = result.most_confused(5)
    off_diagonal = result.confusion.clone().fill_diagonal_(0)
    assert [row.count for row in rows] == off_diagonal.flatten().sort().values.flip(0)[:5].tolist()
    for row in rows:
        true, predicted = bank.class_names.index(row.true), bank.class_names.index(row.predicted)
        assert true != predicted
        assert row.count == int(result.confusion[true, predicted])
        asked = sum(3 for c in result.classes.tolist() if {true, predicted} <= {*c})
        assert row.share == pytest.approx(100 * row.count / asked)
    everything = result.most_confused(1000)
    assert sum(row.count for row in everything) == int(off_diagonal.sum())


def test_it_prints_scipys_interval(result, encoder, bank):
    low, high = t.interval(0.95, 59, result.errors.mean().item(), sem(result.errors.numpy()))
    assert result.ci95 == pytest.approx((high - low) / 2, rel=1e-5)
    assert str(result) == f"{result.error:.1f} % ± {result.ci95:.1f} over 60 episodes"
    assert str(result) in repr(result)
    shown = result._repr_html_()
    assert f"{result.error:.1f} % error" in shown
    assert f"± {result.ci95:.1f} over 60 episodes" in shown
    worst = result.most_confused(1)[0]
    assert worst.true in shown and f'<td class="short">{worst.count}</td>' in shown
    one = fewshot.evaluate(Prototypical(encoder), bank, episodes=1, n_query=5)
    assert one.ci95 is None
    assert str(one) == f"{one.error:.1f} % over 1 episode"
    assert "over 1 episode," in one._repr_html_()


def test_a_frame_has_a_row_an_episode(result, bank, monkeypatch):
    frame = result.to_frame()
    assert frame["error"].tolist() == result.errors.tolist()
    assert (frame["n_way"] == 4).all()
    names = [bank.class_names[c] for c in result.classes[17]]
    assert list(frame["classes"][17]) == names
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"^to_frame: .*; pip install .*\[pandas\]"):
        result.to_frame()


@pytest.mark.parametrize(
    ("learner", "settings", "message"),
    [
        (Prototypical, {"episodes": 0}, "episodes: expected at least 1, got 0"),
        (Prototypical, {"n_way": 1}, r"Setting\.n_way: expected at least 2, got 1"),
        (Prototypical, {"n_way": 13}, "n_way: 13 classes asked for, the set has 12"),
        (Prototypical, {"n_shot": 10}, "12 of 12 classes have too few images"),
        (partial(MAML, n_way=3), {}, r"MAML\.n_way: made for 3-way episodes"),
    ],
)
def test_impossible_evaluations_are_refused(encoder, bank, learner, settings, message):
    with pytest.raises(InputError, match=f"^{message}"):
        fewshot.evaluate(learner(encoder), bank, **settings)
