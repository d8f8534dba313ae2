"""Errors and predictions of fixed episodes, against plain loops and known answers."""

import builtins
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import sem, t
from sklearn.metrics import confusion_matrix

import fewshot
import fewshot.evaluation
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
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


def test_evaluation_mode_without_gradients(encoder, embeddings, sampler):
    learner = Prototypical(encoder.train())
    errors = episode_errors(learner, embeddings.requires_grad_(), sampler, 3)
    assert not errors.requires_grad
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


# --- the call with everything -----------------------------------------------------------------


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
    assert len(result) == 60
    truth = bank.labels[sampler.batch(0, 60).query].flatten(1)
    assert torch.equal(result.predictions.true, truth)
    assert 5 < result.error < 70, "an easy or hopeless task would show little"


def test_images_are_read_by_learners_that_need_them(encoder, bank):
    learner = Prototypical(encoder, batch_norm="support")
    few = fewshot.evaluate(learner, bank, n_way=3, n_query=2, episodes=4)
    sampler = EpisodeSampler(bank, few.setting, derive_seed(0, "test", few.setting.label))
    assert torch.equal(few.errors, episode_errors(learner, bank.images, sampler, 4))


def test_confusion_is_scikit_learns(result, bank):
    true, predicted = (part.flatten() for part in result.predictions)
    expected = confusion_matrix(true, predicted, labels=range(bank.n_classes))
    assert result.confusion.tolist() == expected.tolist()
    assert int(result.confusion.sum()) == 60 * 4 * 3
    wrong = 1 - float(result.confusion.diagonal().sum()) / (60 * 12)
    assert 100 * wrong == pytest.approx(result.error, rel=1e-5)


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


def test_half_width_is_scipys_interval(result):
    low, high = t.interval(0.95, 59, result.errors.mean().item(), sem(result.errors.numpy()))
    assert result.ci95 == pytest.approx((high - low) / 2, rel=1e-5)
    assert str(result) == f"{result.error:.1f} % ± {result.ci95:.1f} over 60 episodes"
    assert str(result) in repr(result)
    assert str(result) in result._repr_html_()


def test_one_episode_has_no_interval(encoder, bank):
    one = fewshot.evaluate(Prototypical(encoder), bank, episodes=1, n_query=5)
    assert one.ci95 is None
    assert str(one) == f"{one.error:.1f} % over 1 episode"


def test_a_frame_has_a_row_an_episode(result, bank):
    frame = result.to_frame()
    assert len(frame) == 60
    assert frame["error"].tolist() == result.errors.tolist()
    assert (frame["n_way"] == 4).all()
    names = [bank.class_names[c] for c in result.classes[17]]
    assert list(frame["classes"][17]) == names


def test_without_pandas_a_frame_is_refused_in_one_line(result, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pandas"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"^to_frame: .*; pip install pandas$"):
        result.to_frame()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 0}, "episodes: expected at least 1, got 0"),
        ({"n_way": 1}, "n_way: expected at least 2, got 1"),
        ({"n_way": 13}, "n_way: 13 classes asked for, the set has 12"),
        ({"n_shot": 10}, "class 'class 0' has 20 images"),
    ],
)
def test_impossible_evaluations_are_refused(encoder, bank, settings, message):
    with pytest.raises(InputError, match=f"^{message}"):
        fewshot.evaluate(Prototypical(encoder), bank, **settings)


def test_a_learner_for_other_episodes_is_refused(encoder, bank):
    with pytest.raises(InputError, match=r"^MAML\.n_way: made for 3-way episodes"):
        fewshot.evaluate(fewshot.learners.MAML(encoder, n_way=3), bank)
