"""Properties of every public learner: a new one is tested as soon as it is exported."""

import inspect

import pytest
import torch

from fewshot import learners
from fewshot.episodes import Episodes, Setting
from fewshot.learners import (
    ANIL,
    MAML,
    R2D2,
    BaselinePlusPlus,
    FineTune,
    Learner,
    LinearProbe,
    Matching,
    MetaLearner,
    MetaSGD,
    Prototypical,
    RefinedPrototypical,
    Relation,
    Ridge,
)
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError
from guided.seeds import seeded_initialisation

PUBLIC = [getattr(learners, name) for name in learners.__all__]
LEARNERS = [cls for cls in PUBLIC if inspect.isclass(cls) and not inspect.isabstract(cls)]
LEARNERS.remove(MetaLearner)

OF_EMBEDDINGS = [cls for cls in LEARNERS if not cls.adapts_encoder]


def named(value):
    return value.__name__ if isinstance(value, type) else str(value)


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


@pytest.mark.parametrize("cls", [LinearProbe, Ridge], ids=named)
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_latents_may_have_any_scale_and_origin(pixels, make_episodes, cls, scale):
    episodes = make_episodes()
    other = Episodes(scale * (episodes.support + 7), scale * (episodes.query + 7))
    torch.testing.assert_close(cls(pixels).logits(other), cls(pixels).logits(episodes))


@of_embeddings
def test_identical_or_zero_embeddings_give_finite_logits_and_gradients(learner):
    support = torch.zeros(2, 4, 3, 8, requires_grad=True)
    loss = learner.eval().logits(Episodes(support, torch.randn(2, 4, 2, 8))).logsumexp(2).sum()
    loss.backward()
    assert loss.isfinite()
    assert support.grad.isfinite().all()


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        *((BaselinePlusPlus, {key: 0}) for key in ("scale", "steps", "learning_rate")),
        *((LinearProbe, {key: 0}) for key in ("penalty", "steps")),
        *((R2D2, {key: 0}) for key in ("penalty", "scale")),
        *((cls, {"temperature": t}) for cls in (Matching, Prototypical) for t in (0, float("nan"))),
        (RefinedPrototypical, {"steps": 0}),
        (Relation, {"hidden": 0}),
        *((Ridge, {"penalty": penalty}) for penalty in (0, -1, float("nan"))),
        (MAML, {"steps": 0}),
        (MAML, {"evaluation_steps": 0}),
        (ANIL, {"learning_rate": 0.0}),
        (MetaSGD, {"n_way": 1}),
    ],
    ids=named,
)
def test_an_impossible_setting_is_named(pixels, cls, settings):
    ((key, value),) = settings.items()
    with pytest.raises(InputError, match=rf"^{cls.__name__}\.{key}: expected .*, got {value}"):
        cls(pixels, **settings)


@pytest.mark.parametrize(
    ("cls", "foreign"), [(FineTune, "first_order"), (ANIL, "adapt"), (MAML, "stepps")], ids=named
)
def test_a_setting_of_another_learner_is_refused(pixels, cls, foreign):
    assert foreign not in inspect.signature(cls).parameters
    with pytest.raises(TypeError, match=foreign):
        cls(pixels, **{foreign: None})


@each_class
def test_the_signature_tells_every_setting_and_its_default(cls, encoder):
    """``help``, configurations and digests read it."""
    parameters = list(inspect.signature(cls).parameters.values())
    assert parameters[0].name == "encoder"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[1:])
    defaults = {p.name: p.default for p in parameters[1:]}
    assert "batch_norm" in defaults
    spelled_out, plain = cls(encoder, **defaults), cls(encoder)
    for name in defaults.keys() & vars(plain).keys():
        assert getattr(spelled_out, name) == getattr(plain, name), name


def other_learner(encoder, path):
    made(Relation, encoder).save(path)


def other_shape(encoder, path):
    Prototypical(encoder, learn_temperature=True).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (other_learner, "weights of Relation, expected those of Prototypical"),
        (other_shape, r"weights .*temperature\.log.*, Prototypical expects {}"),
        (lambda encoder, path: None, r"cannot be read \(No such file"),
        (lambda encoder, path: path.write_text("no weights"), "is not a safetensors file"),
    ],
)
def test_an_unusable_file_of_weights_is_refused(encoder, tmp_path, write, message):
    write(encoder, tmp_path / "weights")
    with pytest.raises(InputError, match=rf"weights: {message}") as refused:
        Prototypical(encoder).restore(tmp_path / "weights")
    assert "\n" not in str(refused.value)
