"""Learners that adapt by gradient steps, against learn2learn, torch's SGD and each other."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F

from fewshot.episodes import Episodes, Setting
from fewshot.learners.base import Learner
from fewshot.learners.gradient import base as gradient
from fewshot.learners.gradient.anil import ANIL
from fewshot.learners.gradient.base import Network
from fewshot.learners.gradient.fine_tune import FineTune
from fewshot.learners.gradient.maml import MAML
from fewshot.learners.gradient.meta_sgd import MetaSGD
from fewshot.learners.gradient.reptile import Reptile
from fewshot.sampler import EpisodeSampler
from guided.backbones import Conv4, Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.seeds import seeded_initialisation

WAY = 3
META = [MAML, MetaSGD, ANIL, Reptile]
ALL = [*META, FineTune]
POLICIES = ["frozen", "support", "transductive"]


@pytest.fixture
def encoder(encoder):
    return encoder.double()


def images(e=2, shot=2, query=3, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def draw(n):
        return torch.rand(e, WAY, n, 1, 16, 16, generator=rng, dtype=torch.float64)

    return Episodes(draw(shot), draw(query))


def make(cls, encoder, **settings):
    settings |= {"n_way": WAY} if cls is not FineTune else {}
    with seeded_initialisation(5, "test"):
        return cls(encoder, **settings).double().train()


def gradients(learner, episodes):
    """The loss and all gradients by name; what gets none is left out."""
    learner.zero_grad()
    loss = learner.loss(episodes)
    loss.backward()
    found = {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}
    return loss.detach(), found


def assert_same(first, second, **tolerance):
    assert set(first) == set(second)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], **tolerance, msg=lambda m, n=name: n + m)


# --- the meta-gradient -----------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", POLICIES)
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("cls", META, ids=lambda cls: cls.__name__)
def test_engines_agree(encoder, cls, first_order, steps, batch_norm):
    order = {} if cls is Reptile else {"first_order": first_order}
    settings = {"steps": steps, "batch_norm": batch_norm, **order}
    (loss, clones), (other, vectorised) = (
        gradients(make(cls, encoder, engine=engine, **settings), images())
        for engine in ("learn2learn", "vectorised")
    )
    assert float(loss) == pytest.approx(float(other), rel=1e-10)
    used = {n: g for n, g in vectorised.items() if n in clones or g.any()}
    assert_same(clones, used, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("cls", [MAML, MetaSGD], ids=lambda cls: cls.__name__)
def test_meta_gradient_is_that_of_learn2learns_algorithm(encoder, cls, first_order):
    import learn2learn as l2l

    ours = make(
        cls, encoder, learning_rate=0.25, first_order=first_order, batch_norm="transductive"
    )
    network = copy.deepcopy(Network(ours.encoder, ours.classifier)).train()
    if cls is MAML:
        theirs = l2l.algorithms.MAML(network, lr=0.25, first_order=first_order)
    else:
        theirs = l2l.algorithms.MetaSGD(network, lr=0.25, first_order=first_order)
    episodes, total = images(), 0.0
    for support, query in zip(episodes.support, episodes.query, strict=True):
        task = theirs.clone()
        task.adapt(F.cross_entropy(task(support.flatten(0, 1)), episodes.support_labels()))
        total += F.cross_entropy(task(query.flatten(0, 1)), episodes.query_labels()) / 2
    total.backward()
    loss, found = gradients(ours, episodes)
    assert float(loss) == pytest.approx(float(total.detach()), rel=1e-10)
    expected = {n: p.grad for n, p in network.named_parameters()}
    assert_same({n: found[n] for n in expected}, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("engine", ["learn2learn", "vectorised"])
def test_meta_gradient_is_the_slope_of_the_loss(encoder, engine):
    learner = make(MAML, encoder, steps=2, engine=engine)
    _, found = gradients(learner, images())
    weight = learner.encoder.backbone.body[3].weight
    for index in [(0, 0, 0, 0), (1, 2, 1, 2), (7, 3, 2, 0)]:
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[index] += step
                values.append(float(learner.loss(images())))
                weight[index] -= step
        slope = (values[0] - values[1]) / 2e-5
        computed = float(found["encoder.backbone.body.3.weight"][index])
        assert computed == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_loss_with_its_gradients_is_the_loss_of_the_logits(encoder):
    learner = make(MAML, encoder, steps=2)
    loss, found = gradients(learner, images(e=3))
    learner.zero_grad()
    whole = Learner.loss(learner, images(e=3))
    whole.backward()
    expected = {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}
    assert float(loss) == pytest.approx(float(whole.detach()), rel=1e-12)
    assert_same(found, expected, rtol=1e-10, atol=1e-13)


def test_the_number_of_threads_changes_no_bit(encoder):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            results.append(gradients(make(MAML, encoder), images(e=5)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    for loss, found in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert_same(found, results[0][1], rtol=0, atol=0)


def test_an_error_in_an_episode_comes_out_and_threads_are_put_back(encoder, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("in an episode")

    monkeypatch.setattr(gradient, "cloned_logits", broken)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="in an episode"):
            make(MAML, encoder).loss(images())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# --- the inner loop --------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["learn2learn", "vectorised"])
def test_fine_tuning_is_torchs_sgd_from_an_empty_classifier(encoder, engine):
    learner = make(FineTune, encoder, steps=4, learning_rate=0.2, engine=engine).eval()
    episodes = images(e=2)
    for e in range(2):
        network = copy.deepcopy(Network(learner.encoder, learner.classifier_for(WAY))).eval()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
        for _ in range(4):
            optimizer.zero_grad()
            logits = network(episodes.support[e].flatten(0, 1))
            F.cross_entropy(logits, episodes.support_labels()).backward()
            optimizer.step()
        expected = network(episodes.query[e].flatten(0, 1))
        torch.testing.assert_close(learner.logits(episodes)[e], expected, rtol=1e-9, atol=1e-12)


def test_reptile_moves_to_where_the_episodes_training_ends(encoder):
    learner = make(Reptile, encoder, steps=3, learning_rate=0.1, batch_norm="frozen")
    episodes, ends, losses = images(e=2), [], []
    for e in range(2):
        network = copy.deepcopy(Network(learner.encoder, learner.classifier)).eval()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        inputs = torch.cat([episodes.support[e].flatten(0, 1), episodes.query[e].flatten(0, 1)])
        labels = torch.cat([episodes.support_labels(), episodes.query_labels()])
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        ends.append(dict(network.named_parameters()))
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(inputs), labels)))
    loss, found = gradients(learner, episodes)
    assert float(loss) == pytest.approx(sum(losses) / 2, rel=1e-9)
    starts = dict(learner.named_parameters())
    expected = {n: starts[n] - (ends[0][n] + ends[1][n]) / 2 for n in ends[0]}
    assert_same(found, expected, rtol=1e-9, atol=1e-13)


def test_meta_sgd_has_a_rate_for_every_weight_and_learns_it(encoder):
    learner = make(MetaSGD, encoder, learning_rate=0.2)
    adaptable = [p for n, p in learner.named_parameters() if not n.startswith("learning_rates")]
    assert [r.shape for r in learner.learning_rates] == [p.shape for p in adaptable]
    for rate in learner.learning_rates:
        rate.data.zero_()
    frozen = make(MetaSGD, encoder, learning_rate=1e-300)
    frozen.load_state_dict(learner.state_dict())
    network = Network(learner.encoder, learner.classifier)
    episodes = images(e=1)
    with torch.no_grad():
        unadapted = network.eval()(episodes.query[0].flatten(0, 1))
        learner.batch_norm = "frozen"
        torch.testing.assert_close(learner.eval().logits(episodes)[0], unadapted)
    _, found = gradients(learner.train(), episodes)
    assert found["learning_rates.0"].abs().sum() > 0


def test_more_steps_at_evaluation(encoder):
    three, other = (
        make(MAML, encoder, steps=s, evaluation_steps=k, learning_rate=0.1)
        for s, k in ((3, None), (1, 3))
    )
    torch.testing.assert_close(other.eval().logits(images()), three.eval().logits(images()))
    assert not torch.allclose(other.train().logits(images()), three.train().logits(images()))


@pytest.mark.parametrize("cls", [MAML, MetaSGD, Reptile, FineTune], ids=lambda cls: cls.__name__)
def test_adaptation_learns_the_classes(encoder, bank, cls):
    learner = make(cls, encoder, steps=60, learning_rate=0.5, batch_norm="support").eval()
    rows = EpisodeSampler(bank, Setting(WAY, 2, 5), seed=0).batch(0, 4)
    episodes = rows.gather(bank.images.double() / 255)
    with torch.no_grad():
        correct = learner.logits(episodes).argmax(2) == episodes.query_labels()
    assert correct.float().mean() > 0.8


# --- parameters that are frozen, unused or named ---------------------------------------------


@pytest.mark.parametrize("engine", ["learn2learn", "vectorised"])
@pytest.mark.parametrize("cls", [MAML, MetaSGD, Reptile, FineTune], ids=lambda cls: cls.__name__)
def test_frozen_parameters_stay_and_the_rest_adapts(encoder, cls, engine):
    learner = make(cls, encoder, engine=engine)
    learner.encoder.backbone.body[0].weight.requires_grad_(False)
    before = copy.deepcopy(learner.state_dict())
    _, found = gradients(learner, images())
    assert "encoder.backbone.body.0.weight" not in found
    assert found["encoder.backbone.body.3.weight"].abs().sum() > 0
    assert_same(before, learner.state_dict(), rtol=0, atol=0)
    network = Network(learner.encoder, learner.classifier_for(WAY))
    assert "encoder.backbone.body.0.weight" not in learner.adapted(network, images())
    assert "encoder.backbone.body.3.weight" in learner.adapted(network, images())


@pytest.mark.parametrize("engine", ["learn2learn", "vectorised"])
def test_only_what_is_listed_adapts(encoder, engine):
    listed = make(MAML, encoder, adapt=["classifier"], batch_norm="frozen", steps=5, engine=engine)
    head_only = make(ANIL, encoder, learning_rate=listed.learning_rate, engine=engine)
    torch.testing.assert_close(listed.eval().logits(images()), head_only.eval().logits(images()))


def test_unusable_parameters_are_named(encoder):
    def attempt(learner):
        return learner.loss(images())

    with pytest.raises(InputError, match=r"^MAML\.adapt: no parameter is called 'encoder\.bone'"):
        attempt(make(MAML, encoder, adapt=["encoder.bone"]))
    part = make(MAML, encoder, adapt=["encoder.backbone", "classifier"])
    part.encoder.backbone.body[1].bias.requires_grad_(False)
    with pytest.raises(InputError, match=r"^MAML\.adapt: encoder\.backbone\.body\.1\.bias is fro"):
        attempt(part)
    features = make(FineTune, encoder.select("features").double(), adapt=["encoder.head"])
    with pytest.raises(InputError, match=r"encoder\.head\.weight does not reach the logits"):
        attempt(features)
    nothing = make(MAML, encoder)
    nothing.requires_grad_(False)
    with pytest.raises(InputError, match="every parameter is frozen"):
        attempt(nothing)


# --- batch norm and memory -------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MAML, MetaSGD, Reptile, FineTune], ids=lambda cls: cls.__name__)
def test_running_statistics_are_left_alone(encoder, cls):
    learner = make(cls, encoder)
    before = {n: b.clone() for n, b in learner.named_buffers()}
    gradients(learner, images())
    assert_same(before, dict(learner.named_buffers()), rtol=0, atol=0)


class Saved:
    """What autograd keeps for backward passes: bytes alive, and their peak."""

    def __init__(self):
        self.alive = self.peak = 0

    def pack(self, tensor):
        box = [tensor]
        holder = _Holder(box)
        size = tensor.numel() * tensor.element_size()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(holder, self.release, size)
        return holder

    def release(self, size):
        self.alive -= size

    def peak_of(self, call):
        self.peak = self.alive
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda holder: holder.box[0]):
            call()
        return self.peak


class _Holder:
    def __init__(self, box):
        self.box = box


@pytest.mark.parametrize("cls", [MAML, MetaSGD, Reptile, FineTune], ids=lambda cls: cls.__name__)
def test_evaluation_keeps_one_episodes_first_order_graph(encoder, cls):
    learner = make(cls, encoder, steps=3)

    def peak(e, evaluate=True):
        learner.train(not evaluate)
        with torch.set_grad_enabled(not evaluate):
            saved = Saved()
            found = saved.peak_of(lambda: learner.logits(images(e=e)))
        return found, saved.alive

    few, left = peak(2)
    many, also_left = peak(12)
    assert few > 0, "the inner steps need a graph"
    assert many == few
    assert left == also_left == 0
    if cls in (MAML, MetaSGD):
        assert peak(1, evaluate=False)[0] > 3 * few


def test_training_frees_each_episodes_graph(encoder):
    learner = make(MAML, encoder)
    peaks = [Saved().peak_of(lambda e=e: learner.loss(images(e=e))) for e in (1, 6)]
    assert peaks[0] == peaks[1] > 0


# --- settings --------------------------------------------------------------------------------


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
    _, found = gradients(learner, images())
    assert set(found) == {name for name, _ in learner.named_parameters()} - unused


def test_fine_tuning_takes_any_number_of_classes(encoder):
    assert FineTune(encoder).double().logits(images()).shape == (2, 9, WAY)
    with pytest.raises(InputError, match=r"^MAML\.n_way: made for 5-way .* 3-way"):
        MAML(encoder).double().logits(images())
