"""What holds for every learner, found by looking for subclasses: add one and it is tested."""

from functools import partial
from itertools import pairwise

import pytest
import torch

import fewshot.learners  # noqa: F401  (imports every learner)
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import EpisodeErrors
from fewshot.learners.base import Learner
from fewshot.learners.gradient.base import GradientLearner, MetaLearner
from fewshot.learners.prototypical import Prototypical
from fewshot.meta_train import TrainConfig
from fewshot.sampler import EpisodeSampler
from fewshot.study.config import ArmConfig, LearnerConfig, StudyConfig
from fewshot.study.report import result_rows
from guided.errors import InputError
from guided.seeds import seeded_initialisation


def subclasses(cls):
    return [s for c in cls.__subclasses__() for s in (c, *subclasses(c))]


LEARNERS = sorted(
    (
        cls
        for cls in subclasses(Learner)
        if cls.__module__.startswith("fewshot.") and cls not in (GradientLearner, MetaLearner)
    ),
    key=lambda cls: cls.__name__,
)

OF_EMBEDDINGS = [cls for cls in LEARNERS if not cls.adapts_encoder]


def named(value):
    return value if isinstance(value, str) else value.__name__


# A classifier that is meta-trained starts with other weights for each class.
ALIKE = [cls for cls in OF_EMBEDDINGS if not issubclass(cls, MetaLearner)]

# Learners that adapt their encoder to an episode cannot be given its embeddings.
each_input = pytest.mark.parametrize(
    ("learner", "episodes"),
    [(cls, "images") for cls in LEARNERS] + [(cls, "embeddings") for cls in OF_EMBEDDINGS],
    ids=named,
    indirect=True,
)
of_embeddings = pytest.mark.parametrize("learner", OF_EMBEDDINGS, ids=named, indirect=True)
each_class = pytest.mark.parametrize("cls", LEARNERS, ids=named)
each_policy = pytest.mark.parametrize("policy", ["frozen", "support", "transductive"])


def made(cls, encoder, **settings):
    """A learner in evaluation mode; weights of its own that are drawn are always the same."""
    # Four classes in all that follows.
    ways = {"n_way": 4} if issubclass(cls, MetaLearner) else {}
    with seeded_initialisation(0, "test", cls.__name__):
        return cls(encoder, **ways, **settings).eval()


@pytest.fixture(params=LEARNERS, ids=named)
def learner(request, encoder):
    """With its default settings, in evaluation mode."""
    return made(request.param, encoder)


@pytest.fixture
def images(bank):
    """Episodes of images, float, so that gradients can reach them."""
    rows = EpisodeSampler(bank, Setting(4, 2, 3), seed=1).batch(0, 5)
    return rows.gather(bank.images.float() / 255)


@pytest.fixture
def episodes(request, images, make_episodes):
    if request.param == "images":
        return images
    drawn = make_episodes(5, 4, 2, 3, d=8)
    return Episodes(drawn.support.float(), drawn.query.float())


def test_learners_were_found():
    assert len(OF_EMBEDDINGS) >= 3


@each_input
def test_shape(learner, episodes):
    logits = learner.logits(episodes)
    assert logits.shape == (5, 4 * 3, 4)
    assert logits.isfinite().all()


@each_input
def test_all_at_once_equals_one_at_a_time(learner, episodes):
    together = learner.logits(episodes)
    for i in range(5):
        one = Episodes(episodes.support[i : i + 1], episodes.query[i : i + 1])
        torch.testing.assert_close(learner.logits(one)[0], together[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learner", ALIKE, ids=named, indirect=True)
@pytest.mark.parametrize("episodes", ["embeddings", "images"], indirect=True)
def test_permuted_classes_permute_the_logits(learner, episodes):
    order = torch.tensor([2, 0, 3, 1])
    permuted = learner.logits(Episodes(episodes.support[:, order], episodes.query[:, order]))
    expected = learner.logits(episodes).unflatten(1, (4, 3))[:, order][..., order].flatten(1, 2)
    torch.testing.assert_close(permuted, expected, rtol=1e-4, atol=1e-4)


@each_input
def test_order_of_the_support_does_not_matter(learner, episodes):
    flipped = learner.logits(Episodes(episodes.support.flip(2), episodes.query))
    torch.testing.assert_close(flipped, learner.logits(episodes), rtol=1e-4, atol=1e-4)


NOTICED = 1e-4
"""A difference of logits that is not rounding."""


def with_other_queries(episodes):
    """The first query of the first class stays, in each episode; all others change."""
    query = episodes.query.flip(0, 2) * 0.3
    query[:, 0, 0] = episodes.query[:, 0, 0]
    return Episodes(episodes.support, query)


def leak(learner, episodes):
    before, after = learner.logits(episodes), learner.logits(with_other_queries(episodes))
    assert not torch.allclose(before[:, 1:], after[:, 1:]), "the others were to change"
    return float((before[:, 0] - after[:, 0]).detach().abs().max())


@each_input
def test_a_query_sees_the_others_only_if_the_learner_says_so(learner, episodes):
    assert (leak(learner, episodes) > NOTICED) == learner.transductive


@each_class
@each_policy
@pytest.mark.parametrize("training", [False, True], ids=["evaluated", "trained"])
def test_batch_norm_lets_a_query_see_the_others_only_where_it_says_so(
    cls, policy, training, encoder, images
):
    learner = made(cls, encoder, batch_norm=policy).train(training)
    assert learner.transductive == (cls.transductive or policy == "transductive")
    # A frozen batch norm is torch's: what it is frozen to, it learns from the step's images.
    learns_statistics = policy == "frozen" and training and not cls.adapts_encoder
    expected = learner.transductive or learns_statistics
    assert (leak(learner, images) > NOTICED) == expected


@each_class
@each_policy
def test_rows_of_the_results_say_whether_queries_saw_each_other(cls, policy):
    setting = Setting()
    study = StudyConfig(
        "any",
        partial(dict),
        {"vae": ArmConfig()},
        {"a": LearnerConfig(partial(cls, batch_norm=policy), TrainConfig())},
    )
    errors = EpisodeErrors(torch.tensor([1.0, 2.0]), setting, "vae", 0, "a", "all")
    (row,) = result_rows(study, [errors])
    assert row["batch_norm"] == policy
    assert row["transductive"] == (cls.transductive or policy == "transductive")


@each_input
def test_episodes_do_not_see_each_other(learner, episodes):
    other = Episodes(episodes.support.clone(), episodes.query.clone())
    other.support[1:] = episodes.support[1:].flip(1)
    before, after = learner.logits(episodes), learner.logits(other)
    torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after[1:], before[1:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "learner", [cls for cls in LEARNERS if cls.loss is Learner.loss], ids=named, indirect=True
)
@pytest.mark.parametrize("episodes", ["images"], indirect=True)
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


@of_embeddings
def test_images_and_their_embeddings_give_the_same_logits(learner, images):
    embedded = images.map(learner.encoder)
    torch.testing.assert_close(
        learner.logits(images), learner.logits(embedded), rtol=1e-5, atol=1e-5
    )


def test_uint8_images_are_scaled(learner, bank):
    rows = EpisodeSampler(bank, Setting(4, 1, 2), seed=1).batch(0, 2)
    torch.testing.assert_close(
        learner.logits(rows.gather(bank.images)),
        learner.logits(rows.gather(bank.images.float() / 255)),
    )


@each_class
def test_own_weights_survive_their_file(cls, encoder, images, tmp_path):
    learner, other = made(cls, encoder), made(cls, encoder)
    before = other.logits(images)
    with torch.no_grad():
        for parameter in learner.own_parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    learner.save(tmp_path / "learner.safetensors")
    assert other.restore(tmp_path / "learner.safetensors") is other
    assert other.own_state().keys() == learner.own_state().keys()
    assert all(torch.equal(value, learner.own_state()[k]) for k, value in other.own_state().items())
    assert torch.equal(other.logits(images), learner.logits(images))
    assert torch.equal(other.logits(images), before) == (not learner.own_parameters())


@pytest.mark.parametrize(("cls", "other"), list(pairwise([*LEARNERS, LEARNERS[0]])), ids=named)
def test_weights_of_another_learner_are_refused(cls, other, encoder, tmp_path):
    made(other, encoder).save(tmp_path / "learner.safetensors")
    with pytest.raises(InputError, match=rf"weights of {other.__name__}, expected") as refused:
        made(cls, encoder).restore(tmp_path / "learner.safetensors")
    assert "\n" not in str(refused.value)


def test_weights_of_another_shape_are_refused(encoder, tmp_path):
    file = tmp_path / "learner.safetensors"
    Prototypical(encoder, learn_temperature=True).save(file)
    with pytest.raises(InputError, match=r"weights .*temperature\.log.*, Prototypical expects {}"):
        Prototypical(encoder).restore(file)


def test_a_file_that_holds_no_weights(encoder, tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        Prototypical(encoder).restore(tmp_path / "missing")
    (tmp_path / "text").write_text("not weights, whatever its name")
    with pytest.raises(InputError, match="is not a safetensors file") as refused:
        Prototypical(encoder).restore(tmp_path / "text")
    assert "\n" not in str(refused.value)
