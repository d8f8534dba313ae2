"""What holds for every learner, found by looking for subclasses: add one and it is tested."""

import pytest
import torch

import fewshot.learners  # noqa: F401  (imports every learner)
from fewshot.episodes import Episodes, EpisodeSampler, Setting
from fewshot.learners.base import Learner


def subclasses(cls):
    return [s for c in cls.__subclasses__() for s in (c, *subclasses(c))]


LEARNERS = sorted(
    (cls for cls in subclasses(Learner) if cls.__module__.startswith("fewshot.")),
    key=lambda cls: cls.__name__,
)


@pytest.fixture(params=LEARNERS, ids=lambda cls: cls.__name__)
def learner(request, encoder):
    """With its default settings, in evaluation mode."""
    return request.param(encoder).eval()


@pytest.fixture
def images(bank):
    """Episodes of images, float, so that gradients can reach them."""
    rows = EpisodeSampler(bank, Setting(4, 2, 3), seed=1).batch(0, 5)
    return rows.gather(bank.images.float() / 255)


@pytest.fixture(params=["embeddings", "images"])
def episodes(request, images, make_episodes):
    if request.param == "images":
        return images
    made = make_episodes(5, 4, 2, 3, d=8)
    return Episodes(made.support.float(), made.query.float())


def test_learners_were_found():
    assert len(LEARNERS) >= 3


def test_shape(learner, episodes):
    logits = learner.logits(episodes)
    assert logits.shape == (5, 4 * 3, 4)
    assert logits.isfinite().all()


def test_all_at_once_equals_one_at_a_time(learner, episodes):
    together = learner.logits(episodes)
    for i in range(5):
        one = Episodes(episodes.support[i : i + 1], episodes.query[i : i + 1])
        torch.testing.assert_close(learner.logits(one)[0], together[i], rtol=1e-4, atol=1e-4)


def test_permuted_classes_permute_the_logits(learner, episodes):
    order = torch.tensor([2, 0, 3, 1])
    permuted = learner.logits(Episodes(episodes.support[:, order], episodes.query[:, order]))
    expected = learner.logits(episodes).unflatten(1, (4, 3))[:, order][..., order].flatten(1, 2)
    torch.testing.assert_close(permuted, expected, rtol=1e-4, atol=1e-4)


def test_order_of_the_support_does_not_matter(learner, episodes):
    flipped = learner.logits(Episodes(episodes.support.flip(2), episodes.query))
    torch.testing.assert_close(flipped, learner.logits(episodes), rtol=1e-4, atol=1e-4)


def with_other_queries(episodes):
    """The first query of the first class stays, in each episode; all others change."""
    query = episodes.query.flip(0, 2) * 0.3
    query[:, 0, 0] = episodes.query[:, 0, 0]
    return Episodes(episodes.support, query)


def leak(learner, episodes):
    before, after = learner.logits(episodes), learner.logits(with_other_queries(episodes))
    assert not torch.allclose(before[:, 1:], after[:, 1:]), "the others were to change"
    return float((before[:, 0] - after[:, 0]).detach().abs().max())


def test_a_query_sees_the_others_only_if_the_learner_says_so(learner, episodes):
    assert (leak(learner, episodes) > 1e-4) == type(learner).transductive


def test_batch_statistics_would_have_been_noticed(learner, images):
    """The control of the test before: in training mode, batch norm mixes the queries."""
    assert leak(learner.train(), images) > 1e-3


def test_episodes_do_not_see_each_other(learner, episodes):
    other = Episodes(episodes.support.clone(), episodes.query.clone())
    other.support[1:] = episodes.support[1:].flip(1)
    before, after = learner.logits(episodes), learner.logits(other)
    torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after[1:], before[1:], rtol=1e-3, atol=1e-3)


def test_loss_is_the_queries_cross_entropy(learner, episodes):
    probabilities = learner.logits(episodes).detach().double().softmax(2)
    nats = [
        -probabilities[e, 3 * c + q, c].log() for e in range(5) for c in range(4) for q in range(3)
    ]
    assert float(learner.loss(episodes).detach()) == pytest.approx(float(sum(nats)) / 60, rel=1e-4)


def test_loss_trains_the_encoder(learner, images):
    learner.train()
    learner.loss(images).backward()
    for name, parameter in learner.encoder.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    mean, logvar = learner.encoder.head.weight.grad.chunk(2)
    assert mean.abs().sum() > 0
    assert logvar.abs().sum() == 0, "learners read the posterior mean alone"


def test_a_step_down_the_gradient_lowers_the_loss(learner, images):
    before = learner.loss(images)
    before.backward()
    with torch.no_grad():
        for parameter in learner.encoder.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad / (1e-8 + parameter.grad.norm())
    assert learner.loss(images) < before


def test_images_and_their_embeddings_give_the_same_logits(learner, images):
    embedded = images.map(learner.encoder)
    torch.testing.assert_close(
        learner.logits(images), learner.logits(embedded), rtol=1e-5, atol=1e-5
    )


def test_uint8_images_are_scaled(learner, bank):
    rows = EpisodeSampler(bank, Setting(3, 1, 2), seed=1).batch(0, 2)
    torch.testing.assert_close(
        learner.logits(rows.gather(bank.images)),
        learner.logits(rows.gather(bank.images.float() / 255)),
    )
