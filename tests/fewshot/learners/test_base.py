"""Properties of every public learner: a new one is tested as soon as it is exported."""

import inspect

import pytest
import torch

from fewshot import learners
from fewshot.episodes import Episodes, Setting
from fewshot.learners import FineTune, Learner, MetaLearner, Prototypical, Relation
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError
from guided.seeds import seeded_initialisation

PUBLIC = [getattr(learners, name) for name in learners.__all__]
LEARNERS = [cls for cls in PUBLIC if inspect.isclass(cls) and not inspect.isabstract(cls)]
LEARNERS.remove(MetaLearner)


def own_parameters(learner):
    """Those that are not the encoder's."""
    return [p for name, p in learner.named_parameters() if not name.startswith("encoder.")]


def made(cls, encoder, **settings):
    """A learner in evaluation mode; weights of its own that are drawn are always the same."""
    # Four classes in all that follows.
    ways = {"n_way": 4} if issubclass(cls, MetaLearner) else {}
    with seeded_initialisation(0, "test", cls.__name__):
        return cls(encoder, **ways, **settings).eval()


each_class = pytest.mark.parametrize("cls", LEARNERS)


@pytest.fixture(params=LEARNERS)
def learner(request, encoder):
    """With its default settings, in evaluation mode."""
    return made(request.param, encoder)


@pytest.fixture
def images(bank):
    """Episodes of images, float, so that gradients can reach them."""
    rows = EpisodeSampler(bank, Setting(4, 2, 3), seed=1).batch(0, 5)
    return rows.gather(bank.images.float() / 255)


@pytest.fixture
def inputs(learner, images, make_episodes):
    """Episodes of all kinds that a learner takes."""
    if learner.adapts_encoder:
        return [images]
    if learner.beside_embedding is not None:
        return [images, images.map(learner.embedding)]
    drawn = make_episodes(5, 4, 2, 3, d=8)
    return [images, Episodes(drawn.support.float(), drawn.query.float())]


def close(one, other, tolerance=1e-4):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_logits_of_an_episode_depend_on_it_alone(learner, inputs):
    for episodes in inputs:
        together = learner.logits(episodes)
        assert together.shape == (5, 4 * 3, 4)
        assert together.isfinite().all()
        for i in range(5):
            close(learner.logits(episodes[i])[0], together[i])
        other = Episodes(episodes.support.clone(), episodes.query.clone())
        other.support[1:] = episodes.support[1:].flip(1)
        after = learner.logits(other)
        close(after[0], together[0], 1e-5)
        assert not torch.allclose(after[1:], together[1:], rtol=1e-3, atol=1e-3)


def test_order_does_not_matter(learner, inputs):
    """That of a class's images, and of the classes, unless each starts with its own weights."""
    order = torch.tensor([2, 0, 3, 1])
    for episodes in inputs:
        logits = learner.logits(episodes)
        close(learner.logits(Episodes(episodes.support.flip(2), episodes.query)), logits)
        if not isinstance(learner, MetaLearner):
            permuted = Episodes(episodes.support[:, order], episodes.query[:, order])
            expected = logits.unflatten(1, (4, 3))[:, order][..., order].flatten(1, 2)
            close(learner.logits(permuted), expected)


def leaks(learner, episodes):
    """Do other queries change the logits of the first query of the first class?"""
    query = episodes.query.flip(0, 2) * 0.3
    query[:, 0, 0] = episodes.query[:, 0, 0]
    before, after = learner.logits(episodes), learner.logits(Episodes(episodes.support, query))
    assert not torch.allclose(before[:, 1:], after[:, 1:]), "the others were to change"
    return float((before[:, 0] - after[:, 0]).detach().abs().max()) > 1e-4  # not rounding


def test_a_query_sees_the_others_only_if_the_learner_says_so(learner, inputs):
    assert [leaks(learner, episodes) for episodes in inputs] == [learner.transductive] * len(inputs)


@each_class
@pytest.mark.parametrize("policy", ["frozen", "support", "transductive"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluated", "trained"])
def test_batch_norm_lets_a_query_see_the_others_only_where_it_says_so(
    cls, policy, training, encoder, images
):
    learner = made(cls, encoder, batch_norm=policy).train(training)
    assert learner.transductive == (cls.transductive or policy == "transductive")
    # A frozen batch norm is torch's: what it is frozen to, it learns from the step's images.
    learns_statistics = policy == "frozen" and training and not cls.adapts_encoder
    assert leaks(learner, images) == (learner.transductive or learns_statistics)


def test_loss_is_the_queries_cross_entropy_and_trains_the_encoder(learner, images):
    loss, logits = learner.loss(images), learner.logits(images).detach()
    if type(learner).loss is Learner.loss:
        p = logits.double().softmax(2).unflatten(1, (4, 3))
        nats = [-p[e, c, q, c].log() for e in range(5) for c in range(4) for q in range(3)]
        assert float(loss.detach()) == pytest.approx(float(sum(nats)) / 60, rel=1e-4)
    loss.backward()
    assert all(p.grad.any() for p in learner.encoder.backbone.parameters())
    mean, logvar = learner.encoder.head.weight.grad.chunk(2)
    assert mean.any()
    assert not logvar.any(), "learners read the posterior mean alone"
    with torch.no_grad():
        for parameter in learner.encoder.parameters():
            parameter -= 0.01 * parameter.grad / (1e-8 + parameter.grad.norm())
    assert learner.loss(images) < loss


def test_uint8_images_and_embeddings_give_the_same_logits(learner, bank, images):
    expected = learner.logits(images)
    close(learner.logits(images.map(lambda x: (255 * x).round().byte())), expected, 1e-5)
    if not learner.adapts_encoder:
        close(learner.logits(images.map(learner.embedding)), expected, 1e-5)


@each_class
def test_own_weights_survive_their_file(cls, encoder, images, tmp_path):
    learner, other = made(cls, encoder), made(cls, encoder)
    before = other.logits(images)
    with torch.no_grad():
        for parameter in own_parameters(learner):
            parameter += 0.1 * torch.randn(parameter.shape)
    learner.save(tmp_path / "learner.safetensors")
    assert other.restore(tmp_path / "learner.safetensors") is other
    assert other.own_state().keys() == learner.own_state().keys()
    assert all(torch.equal(value, learner.own_state()[k]) for k, value in other.own_state().items())
    assert torch.equal(other.logits(images), learner.logits(images))
    assert torch.equal(other.logits(images), before) == (not own_parameters(learner))


@pytest.mark.parametrize("cls", [cls for cls in LEARNERS if not cls.adapts_encoder])
def test_identical_or_zero_embeddings_give_finite_logits_and_gradients(cls, encoder):
    learner = made(cls, encoder)
    width = learner.embedding(torch.zeros(1, 1, 16, 16)).shape[1]
    support = torch.zeros(2, 4, 3, width, requires_grad=True)
    episodes = Episodes(support, torch.randn(2, 4, 2, width))
    loss = learner.logits(episodes).logsumexp(2).sum()
    loss.backward()
    assert loss.isfinite()
    assert support.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        *(("BaselinePlusPlus", key, 0) for key in ("scale", "steps", "learning_rate")),
        *(("DeformationMatching", key, 0) for key in ("weight", "spread")),
        ("DeformationMatching", "context", 2),
        *(("DeformationMatching", key, -1) for key in ("blur", "stiffness", "window")),
        ("LinearProbe", "penalty", 0),
        *(("R2D2", key, 0) for key in ("penalty", "scale")),
        *(("MAML", key, 0) for key in ("steps", "evaluation_steps")),
        *((name, "temperature", 0) for name in ("Matching", "Prototypical")),
        *(("Ridge", "penalty", penalty) for penalty in (0, -1, float("nan"))),
        ("RefinedPrototypical", "steps", 0),
        ("Relation", "hidden", 0),
        ("ANIL", "learning_rate", 0.0),
        ("MetaSGD", "n_way", 1),
    ],
)
def test_an_impossible_setting_is_named(pixels, name, setting, value):
    with pytest.raises(InputError, match=rf"^{name}\.{setting}: expected .*, got {value}"):
        getattr(learners, name)(pixels, **{setting: value})


@each_class
def test_the_signature_tells_every_setting_and_its_default(cls, encoder):
    """``help``, configurations and digests read it."""
    first, *settings = inspect.signature(cls).parameters.values()
    assert first.name == "encoder"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in settings)
    defaults = {p.name: p.default for p in settings}
    assert "batch_norm" in defaults
    spelled_out, plain = cls(encoder, **defaults), cls(encoder)
    for name in defaults.keys() & vars(plain).keys():
        assert getattr(spelled_out, name) == getattr(plain, name), name


@pytest.mark.parametrize(
    ("cls", "foreign"),
    [(FineTune, "first_order"), (learners.ANIL, "adapt"), (learners.MAML, "stepps")],
)
def test_a_setting_of_another_learner_is_refused(pixels, cls, foreign):
    assert foreign not in inspect.signature(cls).parameters
    with pytest.raises(TypeError, match=foreign):
        cls(pixels, **{foreign: None})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda encoder, path: made(Relation, encoder).save(path),
            "weights of fewshot.learners.Relation, expected",
        ),
        (
            lambda encoder, path: Prototypical(encoder, learn_temperature=True).save(path),
            r"weights .*temperature\.log.*, fewshot.learners.Prototypical expects {}",
        ),
        (lambda encoder, path: None, r"cannot be read \(No such file"),
        (lambda encoder, path: path.write_text("no weights"), "is not a safetensors file"),
    ],
)
def test_an_unusable_file_of_weights_is_refused(encoder, tmp_path, write, message):
    write(encoder, tmp_path / "weights")
    with pytest.raises(InputError, match=rf"weights: {message}") as refused:
        Prototypical(encoder).restore(tmp_path / "weights")
    assert "\n" not in str(refused.value)
