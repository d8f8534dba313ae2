"""What goes to and fro between learn2learn and us keeps its images, labels and gradients."""

import random
import sys
from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.utils.data import DataLoader

from fewshot.episodes import Setting
from fewshot.interop import Tasks, classifier, meta_dataset, task_dataset
from fewshot.sampler import EpisodeSampler
from guided.errors import InputError

SETTING = Setting(4, 2, 3)


@pytest.fixture
def uneven(make_bank):
    """Classes of different sizes in arbitrary row order, the last but one without images."""
    bank = make_bank(6, [5, 9, 7, 6, 0, 8], shuffled=True)
    assert bank.labels.diff().min() < 0
    return bank


def class_of(bank, images):
    """The labels of images, found by comparing pixels."""
    rows = bank.images.flatten(1).float()
    nearest = torch.cdist(255 * images.flatten(1), rows)
    assert nearest.amin(1).max() < 0.1
    return bank.labels[nearest.argmin(1)]


def test_the_meta_dataset_is_what_learn2learn_would_find(uneven, learn2learn):
    data = meta_dataset(uneven)
    slow = learn2learn.data.MetaDataset(data.dataset)
    assert data.labels_to_indices == slow.labels_to_indices
    assert data.indices_to_labels == slow.indices_to_labels
    assert set(data.labels) == set(slow.labels) == {0, 1, 2, 3, 5}
    assert len(data) == len(uneven)
    image, label = data[7]
    assert torch.equal(image, uneven.images[7] / 255)
    assert (type(label), label) == (int, int(uneven.labels[7]))


def test_learn2learns_tasks_are_episodes(bank, learn2learn):
    partition_task = learn2learn.data.partition_task
    random.seed(0)
    tasks = task_dataset(bank, SETTING, n_tasks=20)
    drawn, first = set(), set()
    for images, labels in tasks:
        assert images.shape == (20, 1, 16, 16)
        assert len(images.unique(dim=0)) == 20
        classes = class_of(bank, images).view(4, 5)
        assert (classes == classes[:, :1]).all()
        assert sorted(labels.view(4, 5).tolist()) == [[i] * 5 for i in range(4)]
        (support, support_labels), (query, query_labels) = partition_task(images, labels, shots=2)
        assert (len(support), len(query)) == (8, 12)
        name = dict(zip(labels[::5].tolist(), classes[:, 0].tolist(), strict=True))
        assert len({*name.values()}) == 4
        assert class_of(bank, support).tolist() == [name[i] for i in support_labels.tolist()]
        assert class_of(bank, query).tolist() == [name[i] for i in query_labels.tolist()]
        drawn |= {*name.values()}
        first.add(int(labels[0]))
    assert drawn == set(range(bank.n_classes))
    assert first == {0, 1, 2, 3}
    assert len(tasks) == 20
    assert torch.equal(tasks[3][0], tasks[3][0])


@pytest.mark.parametrize("function", [meta_dataset, partial(task_dataset, setting=SETTING)])
def test_without_learn2learn_its_extra_is_named(bank, monkeypatch, function):
    for module in ("learn2learn", "learn2learn.data"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"^\w+: learn2learn is not .*\[learn2learn\]"):
        function(bank)


def test_tasks_are_the_samplers_episodes(uneven):
    bank = uneven.classes([0, 1, 2, 3, 5])
    tasks, sampler = Tasks(bank, SETTING, seed=4, n_tasks=6), EpisodeSampler(bank, SETTING, 4)
    assert len(tasks) == len(list(tasks)) == 6
    loader = DataLoader(tasks, batch_size=None)
    for i, (task, loaded) in enumerate(zip(tasks, loader, strict=True)):
        support, support_labels, query, query_labels = task
        assert torch.equal(support, bank.images[sampler[i].support.flatten()] / 255)
        assert torch.equal(query, bank.images[sampler[i].query.flatten()] / 255)
        assert support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert query_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert all(map(torch.equal, task, loaded))
    assert torch.equal(tasks[-1][0], tasks[5][0])


@pytest.mark.parametrize("make", [partial(Tasks, seed=0), task_dataset])
@pytest.mark.parametrize(
    ("setting", "n_tasks", "message"),
    [
        ((13, 1, 1), 10, "n_way: 13 classes asked for, the set has 12"),
        ((2, 6, 15), 10, r"12 of 12 classes have .*; n_shot \+ n_query needs 21"),
        ((4, 2, 3), 0, "n_tasks: expected at least 1.*, got 0"),
        ((4, 2, 3), -2, "n_tasks: expected at least 1.*, got -2"),
    ],
)
def test_impossible_tasks_are_refused_at_once(bank, make, setting, n_tasks, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make(bank, Setting(*setting), n_tasks=n_tasks)


def adapted(network, task, **options):
    """The query loss of a clone after two steps, by learn2learn."""
    from learn2learn.algorithms import MAML

    clone = MAML(network, lr=0.1, **options).clone()
    support, support_labels, query, query_labels = task
    for _ in range(2):
        clone.adapt(F.cross_entropy(clone(support), support_labels))
    return F.cross_entropy(clone(query), query_labels)


def adapted_by_hand(network, task):
    """The same as a function of the weights."""
    weights = dict(network.named_parameters())
    support, support_labels, query, query_labels = task
    for _ in range(2):
        moving = {name: w for name, w in weights.items() if w.requires_grad}
        loss = F.cross_entropy(functional_call(network, weights, support), support_labels)
        slopes = torch.autograd.grad(loss, moving.values(), create_graph=True)
        steps = dict(zip(moving, slopes, strict=True))
        weights = {n: w - 0.1 * steps[n] if n in steps else w for n, w in weights.items()}
    return F.cross_entropy(functional_call(network, weights, query), query_labels)


@pytest.mark.parametrize(
    ("latents", "projections"),
    [
        ("all", []),
        ("class", []),
        ("features", []),
        ("all", [6]),
        ("features", [6]),
        ("all", [6, 0]),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.usefixtures("learn2learn")
def test_maml_differentiates_through_the_encoder(encoder, bank, latents, projections, frozen):
    encoder = encoder.select(latents)
    for width in projections:
        encoder = encoder.with_projection(width)
    encoder.backbone.body[0].requires_grad_(not frozen)
    network = classifier(encoder, 4)
    task = Tasks(bank, SETTING, 0, 1)[0]
    loss = adapted(network, task, allow_nograd=frozen)
    expected = adapted_by_hand(network, task)
    torch.testing.assert_close(loss, expected)
    trained = [p for p in network.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(expected, trained)
    loss.backward()
    for parameter, slope in zip(trained, slopes, strict=True):
        assert parameter.grad.any()
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-3, atol=1e-5)
    # The encoder's own weights: an outer optimizer trains it.
    assert all((p.grad is not None) == p.requires_grad for p in encoder.backbone.parameters())
    if encoder.latents == "all":
        assert not encoder.latent_head.weight.grad[8:].any(), "no one reads the log variances"


def test_the_classifier_is_the_encoder_with_a_seeded_layer(encoder, bank):
    images = bank.images[:6]
    state = torch.get_rng_state()
    network = classifier(encoder, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network[0](images), encoder(images))
    assert torch.equal(network(images), classifier(encoder, 3, seed=1)(images))
    assert not torch.equal(network(images), classifier(encoder, 3, seed=2)(images))
    with torch.no_grad():
        next(encoder.parameters()).zero_()
    assert torch.equal(network[0](images), encoder(images)), "weights are shared"


def test_other_algorithms_of_learn2learn_train_the_encoder(encoder, bank, learn2learn):
    """GBML views gradients as vectors: they must be contiguous."""
    l2l = learn2learn
    support, support_labels, query, query_labels = Tasks(bank, SETTING, 0, 1)[0]
    scale = l2l.optim.ModuleTransform(l2l.nn.Scale)
    for algorithm in (l2l.algorithms.MetaSGD, partial(l2l.algorithms.GBML, transform=scale)):
        encoder.zero_grad()
        learner = algorithm(classifier(encoder, 4), lr=0.1).clone()
        learner.adapt(F.cross_entropy(learner(support), support_labels))
        F.cross_entropy(learner(query), query_labels).backward()
        assert all(p.grad is not None for p in encoder.backbone.parameters())


def drawn(bank, n_tasks):
    """Tasks as learn2learn's examples draw and divide them."""
    from learn2learn.data import partition_task

    random.seed(1)
    for images, labels in task_dataset(bank, SETTING, n_tasks):
        (support, support_labels), (query, query_labels) = partition_task(images, labels, shots=2)
        yield support, support_labels, query, query_labels


@pytest.mark.usefixtures("learn2learn")
@pytest.mark.parametrize("latents", ["all", "class", "features"])
def test_anil_adapts_the_layer_and_trains_the_encoder(encoder, bank, latents):
    """As in learn2learn's example: ``MAML`` around the last layer alone."""
    from learn2learn.algorithms import MAML

    features, layer = classifier(encoder.select(latents), 4)
    head, tasks = MAML(layer, lr=0.5), [*drawn(bank, 3)]
    trained = [*features.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(trained, 1e-3)

    def by_learn2learn(task):
        support, support_labels, query, query_labels = task
        embedded, clone = features(torch.cat([support, query])), head.clone()
        before = F.cross_entropy(clone(embedded[:8]), support_labels)
        clone.adapt(before)
        assert F.cross_entropy(clone(embedded[:8]), support_labels) < before
        return F.cross_entropy(clone(embedded[8:]), query_labels)

    def by_hand(task):
        """The slope of a cross-entropy in a layer is (p - one hot)ᵀ x / n."""
        support, support_labels, query, query_labels = task
        x = features(support)
        away = (layer(x).softmax(1) - F.one_hot(support_labels, 4)) / 8
        weight, bias = layer.weight - 0.5 * away.T @ x, layer.bias - 0.5 * away.sum(0)
        return F.cross_entropy(F.linear(features(query), weight, bias), query_labels)

    losses = []
    for step in range(6):
        optimizer.zero_grad()
        loss = sum(map(by_learn2learn, tasks)) / 3
        loss.backward()
        if step == 0:
            slopes = torch.autograd.grad(sum(map(by_hand, tasks)) / 3, trained)
            assert all(parameter.grad.any() for parameter in trained)
            for parameter, slope in zip(trained, slopes, strict=True):
                torch.testing.assert_close(parameter.grad, slope, rtol=1e-3, atol=1e-6)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    # The encoder's own weights have moved.
    assert torch.equal(encoder.select(latents)(bank.images[:4]), features(bank.images[:4]))


@pytest.mark.usefixtures("learn2learn")
def test_reptile_moves_towards_the_weights_of_trained_copies(encoder, bank):
    """As in learn2learn's example: the outer gradient is the mean of θ - θ_K over the tasks."""
    network, tasks = classifier(encoder, 4), [*drawn(bank, 2)]
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    ends = []
    for support, labels, _, _ in tasks:  # by hand, before anything moves
        weights = dict(start)
        for _ in range(3):
            weights = {name: value.requires_grad_() for name, value in weights.items()}
            loss = F.cross_entropy(functional_call(network, weights, support), labels)
            slopes = torch.autograd.grad(loss, weights.values())
            moves = zip(weights.items(), slopes, strict=True)
            weights = {name: (value - 0.1 * slope).detach() for (name, value), slope in moves}
        ends.append(weights)
    before = encoder(bank.images[:8]).detach()
    optimizer = torch.optim.SGD(network.parameters(), 0.25)
    optimizer.zero_grad()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for support, labels, _, _ in tasks:
        copy = deepcopy(network)
        inner, losses = torch.optim.SGD(copy.parameters(), 0.1), []
        for _ in range(3):
            inner.zero_grad()
            losses.append(F.cross_entropy(copy(support), labels))
            losses[-1].backward()
            inner.step()
        assert losses[-1] < losses[0]
        for parameter, end in zip(network.parameters(), copy.parameters(), strict=True):
            parameter.grad += (parameter - end).detach() / len(tasks)
    assert torch.equal(encoder(bank.images[:8]), before), "copies share nothing"
    optimizer.step()
    for name, value in network.named_parameters():
        expected = 0.75 * start[name] + 0.25 * (ends[0][name] + ends[1][name]) / 2
        torch.testing.assert_close(value, expected)
    assert not torch.equal(encoder(bank.images[:8]), before), "the encoder itself has moved"
