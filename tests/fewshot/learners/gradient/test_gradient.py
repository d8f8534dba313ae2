"""Learners that adapt by gradient steps, against learn2learn, torch's SGD and each other."""

import copy
import sys
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fewshot.episodes import Episodes
from fewshot.learners import ANIL, MAML, FineTune, MetaSGD, Reptile
from fewshot.learners.gradient import base as gradient
from fewshot.learners.gradient.base import Network
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import seeded_initialisation

WAY = 3
each_engine = pytest.mark.parametrize("engine", ["looped", "vectorised"])
of_whole_networks = pytest.mark.parametrize(
    "cls", [MAML, MetaSGD, Reptile, FineTune], ids=lambda cls: cls.__name__
)


@pytest.fixture
def encoder(encoder):
    return encoder.double()


def images(e=2):
    rng = torch.Generator().manual_seed(0)
    drawn = torch.rand(e, WAY, 5, 1, 16, 16, generator=rng, dtype=torch.float64)
    return Episodes(drawn[:, :, :2], drawn[:, :, 2:])


def make(cls, encoder, **settings):
    settings |= {"n_way": WAY} if cls is not FineTune else {}
    with seeded_initialisation(5, "test"):
        return cls(encoder, **settings).double().train()


def gradients(learner, loss):
    """A loss and all gradients by name, without those that are missing."""
    learner.zero_grad()
    loss.backward()
    found = {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


def sgd(network, inputs, labels, steps, rate):
    """A copy of a network after steps of torch's optimizer on one batch."""
    network = copy.deepcopy(network).eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("batch_norm", ["frozen", "support", "transductive"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(
    ("cls", "order"),
    [(cls, {"first_order": x}) for cls in (MAML, MetaSGD, ANIL) for x in (False, True)]
    + [(Reptile, {})],
)
def test_engines_agree(encoder, cls, order, steps, batch_norm):
    """Also where the loss is a part of another one."""
    settings = {"steps": steps, "batch_norm": batch_norm, **order}
    one, two = (make(cls, encoder, engine=e, **settings) for e in ("looped", "vectorised"))
    loss, looped = gradients(one, 2 * one.loss(images()))
    other, vectorised = gradients(two, 2 * two.loss(images()))
    assert loss == pytest.approx(other, rel=1e-10)
    used = {n: g for n, g in vectorised.items() if n in looped or g.any()}
    assert_close(looped, used, rtol=1e-8, atol=1e-11)


class TwoHeads(Network):
    """Reads one layer under two names."""

    def __init__(self, encoder, classifier):
        super().__init__(encoder, classifier)
        self.again = classifier

    def forward(self, inputs):
        return super().forward(inputs) - 0.3 * self.again(self.encoder(inputs).sin())


@pytest.mark.usefixtures("learn2learn")
@pytest.mark.parametrize(
    ("cls", "settings", "network"),
    [
        (MAML, {"steps": 2}, Network),
        (MAML, {"steps": 2}, TwoHeads),
        (MAML, {"first_order": True}, Network),
        (MetaSGD, {}, Network),
        (ANIL, {}, Network),
        (Reptile, {"steps": 2}, TwoHeads),
        (FineTune, {"steps": 3, "adapt": ["encoder.head", "classifier"]}, Network),
    ],
)
def test_learn2learns_clones_give_the_same_bits(encoder, monkeypatch, cls, settings, network):
    """In single precision; a layer of two names moves as one."""
    monkeypatch.setattr(gradient, "Network", network)
    episodes, found = Episodes(images(3).support.float(), images(3).query.float()), []
    for engine in ("looped", "learn2learn"):
        learner = make(cls, encoder, engine=engine, **settings).float()
        found.append(gradients(learner, learner.loss(episodes)))
        with torch.no_grad():
            found[-1] += (learner.eval().logits(episodes),)
    (loss, slopes, logits), (other_loss, other, other_logits) = found
    assert loss == other_loss
    assert_close(slopes, other, rtol=0, atol=0)
    assert torch.equal(logits, other_logits)


def test_without_learn2learn_its_engine_is_refused(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    learner = make(MAML, encoder)
    assert gradients(learner, learner.loss(images()))[1]
    with pytest.raises(
        InputError, match=r"^MAML\.engine: learn2learn is not installed; .*\[learn2learn\]"
    ):
        make(MAML, encoder, engine="learn2learn")


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("cls", [MAML, MetaSGD])
def test_meta_gradient_is_that_of_learn2learns_algorithm(encoder, learn2learn, cls, first_order):
    settings = {"learning_rate": 0.25, "first_order": first_order, "batch_norm": "transductive"}
    ours = make(cls, encoder, **settings)
    network = copy.deepcopy(Network(ours.encoder, ours.classifier)).train()
    algorithm = getattr(learn2learn.algorithms, cls.__name__)
    theirs = algorithm(network, lr=0.25, first_order=first_order)
    episodes, total = images(), 0.0
    for support, query in zip(episodes.support, episodes.query, strict=True):
        task = theirs.clone()
        task.adapt(F.cross_entropy(task(support.flatten(0, 1)), episodes.support_labels()))
        total += F.cross_entropy(task(query.flatten(0, 1)), episodes.query_labels()) / 2
    expected_loss, expected = gradients(network, total)
    loss, found = gradients(ours, ours.loss(episodes))
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    assert_close({n: found[n] for n in expected}, expected, rtol=1e-8, atol=1e-11)


@each_engine
def test_meta_gradient_is_the_slope_of_the_loss(encoder, engine):
    learner = make(MAML, encoder, steps=2, engine=engine)
    _, found = gradients(learner, learner.loss(images()))
    weight = learner.encoder.backbone.body[3].weight
    for index in [(0, 0, 0, 0), (1, 2, 1, 2), (7, 3, 2, 0)]:
        values = []
        with torch.no_grad():
            for shift in (1e-5, -2e-5):
                weight[index] += shift
                values.append(float(learner.loss(images())))
            weight[index] += 1e-5
        slope = (values[0] - values[1]) / 2e-5
        computed = float(found["encoder.backbone.body.3.weight"][index])
        assert computed == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(encoder, monkeypatch, threads):
    """An error in an episode comes out of its thread; the number is put back in any case."""
    monkeypatch.setattr(gradient, "Network", TwoHeads)
    learner = make(MAML, encoder)
    loss, found = gradients(learner, learner.loss(images(e=5)))
    torch.set_num_threads(threads)
    try:
        other_loss, other = gradients(learner, learner.loss(images(e=5)))
        assert torch.get_num_threads() == threads
        monkeypatch.setattr(gradient, "episode_logits", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learner.loss(images())
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert loss == other_loss
    assert_close(found, other, rtol=0, atol=0)


def test_the_number_of_threads_does_not_change_the_precision(encoder):
    """Autocast is a setting of the thread."""
    learner, episodes = make(MAML, encoder).float(), images(e=3)
    episodes = Episodes(episodes.support.float(), episodes.query.float())

    def loss():
        with torch.autocast("cpu", torch.bfloat16):
            return float(learner.loss(episodes).detach())

    alone = loss()
    assert alone != float(learner.loss(episodes).detach())
    torch.set_num_threads(2)
    try:
        assert loss() == alone
    finally:
        torch.set_num_threads(1)


@each_engine
def test_fine_tuning_is_torchs_sgd_from_an_empty_classifier(encoder, engine):
    """With any number of classes."""
    learner = make(FineTune, encoder, steps=4, learning_rate=0.2, engine=engine).eval()
    start = Network(encoder, torch.nn.Linear(8, WAY).double())
    for weights in start.classifier.parameters():
        torch.nn.init.zeros_(weights)
    episodes = images()
    for e, logits in enumerate(learner.logits(episodes)):
        support, query = (x[e].flatten(0, 1) for x in (episodes.support, episodes.query))
        expected = sgd(start, support, episodes.support_labels(), 4, 0.2)(query)
        assert_close(logits, expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match=r"^MAML\.n_way: made for 5-way .* 3-way"):
        MAML(encoder).logits(episodes)


def test_reptile_moves_to_where_the_episodes_training_ends(encoder):
    learner = make(Reptile, encoder, steps=3, learning_rate=0.1, batch_norm="frozen")
    episodes, ends, losses = images(), [], []
    labels = torch.cat([episodes.support_labels(), episodes.query_labels()])
    for e in range(2):
        inputs = torch.cat([x[e].flatten(0, 1) for x in (episodes.support, episodes.query)])
        network = sgd(Network(learner.encoder, learner.classifier), inputs, labels, 3, 0.1)
        ends.append(dict(network.named_parameters()))
        losses.append(float(F.cross_entropy(network(inputs), labels).detach()))
    loss, found = gradients(learner, learner.loss(episodes))
    assert loss == pytest.approx(sum(losses) / 2, rel=1e-9)
    starts = dict(learner.named_parameters())
    expected = {n: starts[n] - (ends[0][n] + ends[1][n]) / 2 for n in ends[0]}
    assert_close(found, expected, rtol=1e-9, atol=1e-13)


def test_meta_sgd_learns_a_rate_for_every_weight(encoder):
    learner = make(MetaSGD, encoder, batch_norm="frozen")
    _, found = gradients(learner, learner.loss(images()))
    adapted = [p for n, p in learner.named_parameters() if not n.startswith("learning_rates")]
    assert [r.shape for r in learner.learning_rates] == [p.shape for p in adapted]
    assert all(found[f"learning_rates.{i}"].any() for i in range(len(adapted)))
    for rate in learner.learning_rates:
        rate.data.zero_()
    network = Network(learner.encoder, learner.classifier)
    for logits, query in zip(learner.logits(images()), images().query, strict=True):
        assert_close(logits, network(query.flatten(0, 1)))


def test_more_steps_at_evaluation(encoder):
    three = make(MAML, encoder, steps=3)
    other = make(MAML, encoder, steps=1, evaluation_steps=3)
    assert_close(other.eval().logits(images()), three.eval().logits(images()))
    assert not torch.allclose(other.train().logits(images()), three.train().logits(images()))


@each_engine
@of_whole_networks
def test_frozen_parameters_and_statistics_stay_and_the_rest_adapts(encoder, cls, engine):
    learner = make(cls, encoder, engine=engine)
    learner.encoder.backbone.body[0].weight.requires_grad_(False)
    before = copy.deepcopy(learner.state_dict())
    _, found = gradients(learner, learner.loss(images()))
    assert "encoder.backbone.body.0.weight" not in found
    assert found["encoder.backbone.body.3.weight"].any()
    assert_close(before, learner.state_dict(), rtol=0, atol=0)


@each_engine
def test_only_what_is_listed_adapts(encoder, engine):
    listed = make(MAML, encoder, adapt=["classifier"], batch_norm="frozen", steps=5, engine=engine)
    head_only = make(ANIL, encoder, learning_rate=listed.learning_rate, engine=engine)
    assert_close(listed.eval().logits(images()), head_only.eval().logits(images()))


@pytest.mark.parametrize(
    ("latents", "adapt", "frozen", "message"),
    [
        ("all", ["encoder.bone"], [], r"^MAML\.adapt: no parameter is called 'encoder\.bone'"),
        ("all", ["encoder.head"], ["head"], r"^MAML\.adapt: encoder\.head\.weight is frozen"),
        ("features", ["encoder.head"], [], r"encoder\.head\.weight does not reach the logits"),
        ("all", None, ["backbone", "head", "classifier"], "every parameter is frozen"),
    ],
)
def test_unusable_parameters_are_named(encoder, latents, adapt, frozen, message):
    learner = make(MAML, encoder.select(latents), adapt=adapt)
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(not any(part in name for part in frozen))
    with pytest.raises(InputError, match=message):
        learner.loss(images())


@pytest.mark.parametrize(
    ("variant", "unused"),
    [
        (lambda encoder: encoder.select("features"), {"encoder.head.weight", "encoder.head.bias"}),
        (lambda encoder: encoder.with_projection(4).with_projection(0), set()),
        (lambda encoder: Encoder(Pixels((1, 16, 16)), None), set()),
        (lambda encoder: Encoder(Conv4((1, 16, 16), width=4, downsample="pool"), None), set()),
    ],
    ids=["features", "projection removed", "pixels", "pooled"],
)
def test_all_that_reaches_the_logits_is_meta_trained(encoder, variant, unused):
    learner = make(MAML, variant(encoder).double())
    _, found = gradients(learner, learner.loss(images()))
    assert set(found) == {name for name, _ in learner.named_parameters()} - unused


def saved_bytes(call):
    """What autograd keeps for backward passes in a call: its peak, and what is left after it."""
    alive = [0]

    def pack(tensor):
        def held():
            return tensor

        size = tensor.numel() * tensor.element_size()
        alive.append(alive[-1] + size)
        weakref.finalize(held, lambda: alive.append(alive[-1] - size))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held()):
        call()
    return max(alive), alive[-1]


@of_whole_networks
def test_one_episodes_graph_is_kept(encoder, cls):
    """One of first order at evaluation."""
    learner = make(cls, encoder, steps=3)
    in_training = [saved_bytes(lambda e=e: learner.loss(images(e=e)))[0] for e in (1, 6)]
    assert in_training[0] == in_training[1] > 0
    learner.eval()
    with torch.no_grad():
        few, many = (saved_bytes(lambda e=e: learner.logits(images(e=e))) for e in (2, 12))
    assert few == many
    peak, left = few
    assert peak > 0, "the inner steps need a graph"
    assert left == 0
    assert cls in (Reptile, FineTune) or in_training[0] > 3 * peak


@each_engine
def test_fine_tuning_without_an_encoder_s_weights(engine):
    """On pixels, or on embeddings: softmax regression on the support, by SGD from zero."""
    episodes = images()
    learner = FineTune(Encoder(Pixels((1, 16, 16)), None), steps=3, learning_rate=0.1).eval()
    learner.engine = engine if engine == "vectorised" else "auto"
    with torch.no_grad():
        found = learner.logits(Episodes(episodes.support.float(), episodes.query.float()))
    zero = torch.nn.Linear(256, WAY)
    for weights in zero.parameters():
        torch.nn.init.zeros_(weights)
    for support, query, logits in zip(episodes.support, episodes.query, found, strict=True):
        inputs, labels = support.float().reshape(-1, 256), episodes.support_labels()
        expected = sgd(zero, inputs, labels, 3, 0.1)(query.float().reshape(-1, 256))
        assert_close(logits, expected, rtol=1e-4, atol=1e-5)
